package proof

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/argon2"

	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
	"mailsrv/quota"
	"mailsrv/storage/sqlite"
	"mailsrv/test/built"
)

const (
	domain   = "me.example"
	password = "sesame opens"
)

// startLimit is how long a server may take to be ready, and to end when it is stopped.
const startLimit = 30 * time.Second

// server is a data directory, its configuration, and the server process, if it runs.
type server struct {
	t      *testing.T
	binary string
	data   string
	config string
	text   string   // of the configuration; its %d is replaced by limit
	limit  int      // smtp.max_recipients; each reload changes it
	tmp    string   // folder for SQLite's temporary files; empty: the default
	env    []string // further variables of the process

	process *exec.Cmd
	ended   chan struct{} // closed when the process has ended and its log is read
	smtp    string        // address
	pop3    string
	ready   time.Duration // how long the last start took

	log  *os.File
	mu   sync.Mutex
	tail []string        // the log's last lines
	odd  []string        // the last ones above level INFO
	left map[string]bool // "id mailbox" of each target of an alias that was left out
	told []int           // numbers of goroutines in the log lines of reloads
}

// newServer writes a configuration for a data directory. more are further lines of it.
func newServer(t *testing.T, data string, more ...string) *server {
	t.Helper()
	home := t.TempDir()
	s := &server{t: t, binary: built.Server(t), data: data, config: filepath.Join(home, "mailsrv.yaml"), limit: 100}
	s.text = strings.Join(append([]string{
		"hostname: mail." + domain,
		"data_dir: " + data,
		"smtp: {listen: [\"127.0.0.1:0\"], max_connections_per_client: 0, max_recipients: %d}",
		"pop3: {listen: [\"127.0.0.1:0\"], listen_tls: [], max_connections_per_client: 0}",
	}, more...), "\n") + "\n"
	// Go's default collector setting: garbage that was not collected yet must not look
	// like memory that grows.
	s.env = []string{"GOGC=100"}
	s.configure()
	var err error
	if s.log, err = os.Create(filepath.Join(home, "log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.kill()
		s.log.Close()
		if t.Failed() {
			s.mu.Lock()
			defer s.mu.Unlock()
			t.Logf("the log's last warnings and errors\n%s", strings.Join(s.odd, "\n"))
			t.Logf("the log ends with\n%s", strings.Join(s.tail, "\n"))
		}
	})
	return s
}

// configure replaces the configuration atomically, since a command may be reading it.
func (s *server) configure() {
	s.t.Helper()
	s.must(os.WriteFile(s.config+".new", fmt.Appendf(nil, s.text, s.limit), 0o600))
	s.must(os.Rename(s.config+".new", s.config))
}

// passwordHash is as strong as a hash that the server makes, so that a login does not
// replace it. It needs little memory, so that hundreds of logins do not take more of it
// than what is tested.
var passwordHash = sync.OnceValue(func() string {
	const memory, passes = 1216, 32 // KiB; as much work as 19 MiB twice
	salt := []byte("of a mailbox here")
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=1$%s$%s", memory, passes,
		b64.EncodeToString(salt), b64.EncodeToString(argon2.IDKey([]byte(password), salt, passes, memory, 1, 32)))
})

// noLimit is the limit of mailboxes that may hold any amount of mail.
var noLimit = quota.Limit{Octets: quota.Unlimited, Messages: quota.Unlimited}

// populate adds the domain and mailboxes before the first start.
func (s *server) populate(limit quota.Limit, locals ...string) {
	s.t.Helper()
	hash := passwordHash()
	ctx := context.Background()
	store, err := sqlite.Open(ctx, s.data, sqlite.Options{})
	s.must(err)
	s.must(store.AddDomain(ctx, directory.Domain{Name: domain}))
	for _, local := range locals {
		_, err := store.AddMailbox(ctx, directory.Mailbox{
			Address: mail.Address{Local: local, Domain: domain}, Switches: directory.AllOn, Hash: hash, Policy: directory.Policy{Limit: limit},
		})
		s.must(err)
	}
	s.must(store.Close())
}

func (s *server) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

var listening = regexp.MustCompile(`msg=listening proto=(smtp|pop3) address=(\S+)`)

// launch starts the process. The channel yields true when it is ready, false
// when it ended before.
func (s *server) launch() <-chan bool {
	s.t.Helper()
	s.process = exec.Command(s.binary, "serve", "--config", s.config)
	s.process.Env = append(append(os.Environ(), "SQLITE_TMPDIR="+s.tmp), s.env...)
	log, err := s.process.StderrPipe()
	s.must(err)
	begun := time.Now()
	s.must(s.process.Start())
	s.ended = make(chan struct{})
	came := make(chan bool, 1)
	go func(process *exec.Cmd, ended chan struct{}) {
		defer close(ended)
		lines := bufio.NewReader(log)
		told := false
		for {
			line, err := lines.ReadString('\n')
			if line = strings.TrimSuffix(line, "\n"); line != "" {
				s.note(line)
			}
			if !told {
				if m := listening.FindStringSubmatch(line); m != nil && m[1] == "smtp" {
					s.smtp = m[2]
				} else if m != nil {
					s.pop3 = m[2]
				}
				if strings.Contains(line, "msg=ready") {
					s.ready = time.Since(begun)
					told = true
					came <- true
				}
			}
			if err != nil {
				break
			}
		}
		process.Wait()
		if !told {
			came <- false
		}
	}(s.process, s.ended)
	return came
}

// note records a line of the log. A data race or a panic fails the test.
func (s *server) note(line string) {
	fmt.Fprintln(s.log, line)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tail = keepLast(s.tail, line, 15)
	if m := reloaded.FindStringSubmatch(line); m != nil {
		n, _ := strconv.Atoi(m[1])
		s.told = append(s.told, n)
	}
	if m := leftOut.FindStringSubmatch(line); m != nil {
		if s.left == nil {
			s.left = map[string]bool{}
		}
		s.left[m[1]+" "+m[2]] = true
	}
	if !strings.Contains(line, "level=INFO") {
		s.odd = keepLast(s.odd, line, 40)
	}
	if strings.Contains(line, "DATA RACE") || strings.HasPrefix(line, "panic:") || strings.Contains(line, "reason=panic") {
		s.t.Errorf("the server's log: %s", line)
	}
}

// leftOut matches the log line of a target of an alias that could not take a message.
var leftOut = regexp.MustCompile(`msg="left out" id=(\w+) .* mailbox=(\S+) reason=`)

// wasLeftOut reports whether the log says that a maildrop did not get a message. It waits
// a while for the line.
func (s *server) wasLeftOut(id, local string) bool {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		s.mu.Lock()
		found := s.left[id+" "+address(local)]
		s.mu.Unlock()
		if found || time.Now().After(deadline) {
			return found
		}
	}
}

// keepLast appends a line and drops the first one if there are more than most.
func keepLast(lines []string, line string, most int) []string {
	lines = append(lines, line)
	return lines[max(0, len(lines)-most):]
}

// start starts the server and waits until it is ready.
func (s *server) start() {
	s.t.Helper()
	select {
	case ready := <-s.launch():
		if !ready {
			s.t.Fatal("the server ended instead of serving")
		}
	case <-time.After(startLimit):
		s.t.Fatal("the server does not become ready")
	}
}

// kill ends the process as kill -9 does, and waits until it is gone.
func (s *server) kill() {
	if s.process == nil {
		return
	}
	s.process.Process.Kill()
	<-s.ended
	s.process = nil
}

// stop ends the process as an administrator does, and expects it to end without an error.
func (s *server) stop() {
	s.t.Helper()
	s.process.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(2 * startLimit):
		s.t.Fatal("the server does not stop")
	}
	if code := s.process.ProcessState.ExitCode(); code != 0 {
		s.t.Errorf("the server ended with %d", code)
	}
	s.process = nil
}

// outcome is the result of a command.
type outcome struct {
	stdout, stderr string
	code           int // -1: killed
}

// command returns a command of the command line on the same data directory, not started.
func (s *server) command(ctx context.Context, stdin string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, s.binary, append([]string{"--config", s.config}, args...)...)
	c.Stdin = strings.NewReader(stdin)
	return c
}

// run runs a command to its end.
func run(c *exec.Cmd) outcome {
	var out, problems bytes.Buffer
	c.Stdout, c.Stderr = &out, &problems
	err := c.Run()
	o := outcome{stdout: out.String(), stderr: problems.String()}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		o.code = exit.ExitCode()
	case err != nil:
		o.code, o.stderr = -1, err.Error()
	}
	return o
}

// do runs a command that must succeed and returns what it prints.
func (s *server) do(stdin string, args ...string) string {
	s.t.Helper()
	o := run(s.command(context.Background(), stdin, args...))
	if o.code != 0 {
		s.t.Fatalf("mailsrv %s: exit %d\n%s%s", strings.Join(args, " "), o.code, o.stdout, o.stderr)
	}
	return o.stdout
}

// check runs "mailsrv check", which must find nothing.
func (s *server) check() {
	s.t.Helper()
	o := run(s.command(context.Background(), "", "check"))
	if o.code != 0 {
		s.t.Errorf("mailsrv check: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
}

func address(local string) string { return local + "@" + domain }
