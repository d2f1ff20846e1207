package main_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mailsrv/test/built"
)

// The tests of this package, main_test, run the built program as a process of
// its own and judge it by what other programs make of it.

// patience is how long one step may take on a machine that has more to do.
const patience = 60 * time.Second

// site is a folder with a configuration file and the data of one server, and
// the server that runs on them at the moment.
type site struct {
	t        *testing.T
	dir      string
	program  string
	settings map[string]string
	server   *server // nil: none runs
}

// newSite makes a site with the domain me.com; settings are "section.key: value"
// of the configuration. What the test leaves running is stopped at its end; it
// must stop well, and the check of its data must find nothing.
func newSite(t *testing.T, settings ...string) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir(), program: built.Server(t), settings: map[string]string{
		"hostname":           "mail.me.com",
		"data_dir":           "data",
		"storage.min_free":   "1MiB",
		"smtp.listen":        `["127.0.0.1:0"]`,
		"pop3.listen":        `["127.0.0.1:0"]`,
		"pop3.listen_tls":    `["127.0.0.1:0"]`,
		"shutdown_timeout":   "20s",
		"memory.buffers":     "32MiB",
		"quota.default_size": "100MiB",
	}}
	s.configure(settings...)
	s.do("domain", "add", "me.com")
	t.Cleanup(s.close)
	return s
}

// close ends what a test leaves.
func (s *site) close() {
	if s.server != nil {
		k := s.server
		defer func() { // for one that does not end
			k.process.Process.Kill()
			<-k.ended
		}()
		s.stop()
	}
	s.do("check")
}

// within is the site for a subtest, whose log and failures are its own.
func (s *site) within(t *testing.T) *site {
	inner := *s
	inner.t = t
	return &inner
}

// configure changes settings and writes the configuration file.
func (s *site) configure(settings ...string) {
	s.t.Helper()
	for _, setting := range settings {
		key, value, found := strings.Cut(setting, ": ")
		if !found {
			s.t.Fatalf("setting %q", setting)
		}
		s.settings[key] = value
	}
	var top, sections strings.Builder
	open := ""
	for _, key := range slices.Sorted(maps.Keys(s.settings)) {
		section, name, nested := strings.Cut(key, ".")
		if !nested {
			fmt.Fprintf(&top, "%s: %s\n", key, s.settings[key])
			continue
		}
		if section != open {
			fmt.Fprintf(&sections, "%s:\n", section)
			open = section
		}
		fmt.Fprintf(&sections, "  %s: %s\n", name, s.settings[key])
	}
	s.write("mailsrv.yaml", top.String()+sections.String())
}

// path is a file of the site.
func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

// write makes a file that only its owner can read, and returns its path.
func (s *site) write(name, text string) string {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return s.path(name)
}

// read returns a file of the site; one that is missing is empty.
func (s *site) read(name string) string {
	s.t.Helper()
	if _, err := os.Stat(s.path(name)); os.IsNotExist(err) {
		return ""
	}
	return readFile(s.t, s.path(name))
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// environ is what every program gets: nothing of the person who runs the test.
func (s *site) environ(more ...string) []string {
	return append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "LC_ALL=C.UTF-8",
		"GORACE=atexit_sleep_ms=0", // else a program with the race detector sleeps at its end
	}, more...)
}

// result is what a program left behind.
type result struct {
	stdout, stderr string
	code           int
}

// all is everything that was printed.
func (r result) all() string { return r.stdout + r.stderr }

// run runs a program to its end.
func (s *site) run(stdin, name string, args ...string) result {
	s.t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		s.t.Fatalf("%v: deploy/setup test installs it", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	c := exec.CommandContext(ctx, path, args...)
	c.Dir, c.Env = s.dir, s.environ()
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(stdin), &stdout, &stderr
	c.WaitDelay = time.Second
	err = c.Run()
	r := result{stdout.String(), stderr.String(), c.ProcessState.ExitCode()}
	s.t.Logf("$ %s %s\n%s%s(exit %d)", filepath.Base(name), strings.Join(args, " "), shorten(r.stdout), shorten(r.stderr), r.code)
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("%s: %v", name, err)
	}
	if ctx.Err() != nil {
		s.t.Fatalf("%s did not end within %v", name, patience)
	}
	return r
}

// shorten keeps a log readable when a message of megabytes passes.
func shorten(text string) string {
	const most = 2048
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	if len(text) <= most {
		return text
	}
	return fmt.Sprintf("%s\n… %d octets …\n%s", text[:most/2], len(text)-most, text[len(text)-most/2:])
}

// mailsrv runs a command of ours.
func (s *site) mailsrv(stdin string, args ...string) result {
	s.t.Helper()
	r := s.run(stdin, s.program, append([]string{"--config", s.path("mailsrv.yaml")}, args...)...)
	if strings.Contains(r.stderr, "DATA RACE") {
		s.t.Error("a data race")
	}
	return r
}

// do is mailsrv for commands that must succeed.
func (s *site) do(args ...string) string {
	s.t.Helper()
	return s.doWith("", args...)
}

func (s *site) doWith(stdin string, args ...string) string {
	s.t.Helper()
	r := s.mailsrv(stdin, args...)
	if r.code != 0 {
		s.t.Fatalf("mailsrv %s: exit %d\n%s", strings.Join(args, " "), r.code, r.all())
	}
	return r.stdout
}

// mailbox makes a mailbox with the password "secret".
func (s *site) mailbox(address string, flags ...string) {
	s.t.Helper()
	s.doWith("secret\n", append([]string{"mailbox", "add", address, "--password-stdin"}, flags...)...)
}

// server is a process that serves a site.
type server struct {
	process           *exec.Cmd
	log               *logbook
	ended             chan struct{} // closed when it has
	smtp, pop3, pop3s string        // host:port
}

var listening = regexp.MustCompile(`msg=listening proto=(\w+) address=(\S+) tls=(\w+)`)

// start runs the server and waits until it says that it is ready.
func (s *site) start(environ ...string) *server {
	s.t.Helper()
	c := exec.Command(s.program, "--config", s.path("mailsrv.yaml"), "serve")
	c.Dir, c.Env = s.dir, s.environ(environ...)
	k := s.watch(c)
	k.log.await(s.t, "msg=ready")
	for _, m := range listening.FindAllStringSubmatch(k.log.String(), -1) {
		switch m[1] + " " + m[3] {
		case "smtp starttls":
			k.smtp = m[2]
		case "pop3 starttls":
			k.pop3 = m[2]
		case "pop3 implicit":
			k.pop3s = m[2]
		}
	}
	return k
}

// watch starts a process that becomes the server of the site.
func (s *site) watch(c *exec.Cmd) *server {
	s.t.Helper()
	k := &server{process: c, log: newLogbook(), ended: make(chan struct{})}
	c.Stdout, c.Stderr = k.log, k.log
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // a test binary may be stopped, too
	if err := c.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		c.Wait()
		k.log.close()
		close(k.ended)
	}()
	s.server = k
	return k
}

// signal sends the server a signal.
func (s *site) signal(signal syscall.Signal) {
	s.t.Helper()
	if err := s.server.process.Process.Signal(signal); err != nil {
		s.t.Fatal(err)
	}
}

// stop ends the server as an administrator does; it must end well.
func (s *site) stop() {
	s.t.Helper()
	s.signal(syscall.SIGTERM)
	s.awaitEnd(0)
}

// kill ends the server as a crash does.
func (s *site) kill() {
	s.t.Helper()
	s.signal(syscall.SIGKILL)
	s.awaitEnd(-1)
}

// awaitEnd waits until the server has ended by itself.
func (s *site) awaitEnd(code int) {
	s.t.Helper()
	k := s.server
	s.server = nil
	defer func() { s.t.Logf("the server's log:\n%s", shorten(k.log.String())) }()
	select {
	case <-k.ended:
	case <-time.After(patience):
		s.t.Fatal("the server does not end")
	}
	if got := k.process.ProcessState.ExitCode(); got != code {
		s.t.Errorf("the server: %v", k.process.ProcessState)
	}
	if strings.Contains(k.log.String(), "DATA RACE") {
		s.t.Error("a data race in the server")
	}
}

// logbook takes what a process prints and lets others wait for it.
type logbook struct {
	mu      sync.Mutex
	text    bytes.Buffer
	closed  bool
	changed chan struct{} // closed at the next change
}

func newLogbook() *logbook { return &logbook{changed: make(chan struct{})} }

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
	return l.text.Write(p)
}

// close says that nothing comes any more.
func (l *logbook) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// await waits for a line that has all the parts, and returns it.
func (l *logbook) await(t *testing.T, parts ...string) string {
	t.Helper()
	late := time.After(patience)
	for {
		l.mu.Lock()
		text, closed, changed := l.text.String(), l.closed, l.changed
		l.mu.Unlock()
		for line := range strings.Lines(text) {
			if strings.HasSuffix(line, "\n") && !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) }) {
				return line
			}
		}
		if closed {
			t.Fatalf("the process ended without %q:\n%s", parts, shorten(text))
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("waited in vain for %q", parts)
		}
	}
}
