package main

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"mailsrv/internal/logs"
	"mailsrv/test/asroot"
)

// Whatever a command changes stands in the system's log with who did it, and no secret.
func TestChangesAreRecorded(t *testing.T) {
	h := newHouse(t)
	const hash = "$5$rounds=1000$saltsalt$CWJMHmfgpSEIGI0CJSKSHfgbPLhbsb7XiaSdPJq37kC"
	by, _ := whoIs(os.Getuid(), nil)
	said := ""
	for _, step := range []struct {
		want  string // behind the name; empty: nothing is recorded
		stdin string
		args  string
	}{
		{`msg=changed by=NAME action="domain add" domain=me.com quota=500MiB`, "", "domain add ME.com --quota 500MiB"},
		{`msg=changed by=NAME action="mailbox add" mailbox=look@me.com message_limit=10`, "geheim", "mailbox add look@me.com --password-stdin --messages 10"},
		{`msg=changed by=NAME action="mailbox add" mailbox=b@me.com`, hash, "mailbox add b@me.com --hash-stdin"},
		{`msg=changed by=NAME action="domain set" domain=me.com postmaster=b@me.com message_limit=none`, "", "domain set me.com --postmaster b@me.com --messages 0"},
		{`msg=changed by=NAME action="domain set" domain=me.com postmaster=""`, "", "domain set me.com --postmaster EMPTY"},
		{`msg=changed by=NAME action="mailbox set" mailbox=b@me.com keep_retrieved=720h0m0s undelete_for=off`, "", "mailbox set b@me.com --keep-retrieved 30d --undelete-for off"},
		{`msg=changed by=NAME action="mailbox set" mailbox=b@me.com quota=1500000000`, "", "quota set b@me.com 1.5GB"},
		{`msg=changed by=NAME action="mailbox set" mailbox=b@me.com quota=inherit message_limit=inherit`, "", "quota set b@me.com inherit --messages inherit"},
		{`msg=changed by=NAME action="domain set" domain=me.com quota=2GiB`, "", "quota set me.com 2G"},
		{`msg=changed by=NAME action="mailbox passwd" mailbox=b@me.com`, "geheim", "mailbox passwd b@me.com --password-stdin"},
		{`msg=changed by=NAME action="mailbox disable" mailbox=b@me.com`, "", "mailbox disable b@me.com"},
		{`msg=changed by=NAME action="mailbox enable" mailbox=b@me.com`, "", "mailbox enable b@me.com"},
		{`msg=changed by=NAME action="alias add" alias=@me.com targets="look@me.com b@me.com"`, "", "alias add @me.com look@me.com b@me.com"},
		{`msg=changed by=NAME action="alias remove" alias=@me.com targets=b@me.com`, "", "alias remove @me.com b@me.com"},
		{`msg=changed by=NAME action="alias remove" alias=@me.com`, "", "alias remove @me.com"},
		{`msg=changed by=NAME action="mailbox remove" mailbox=b@me.com`, "", "mailbox remove b@me.com --yes"},
		{"", "", "mailbox list"},
		{"", "", "maildrop list look@me.com"},
		{"", "", "mailbox show look@me.com"},
	} {
		h.do(step.stdin, words(step.args)...)
		line := strings.TrimPrefix(h.syslog.String(), said)
		said += line
		_, line, _ = strings.Cut(line, " level=INFO ")
		want := strings.ReplaceAll(step.want, "NAME", by)
		if want != "" {
			want += "\n"
		}
		if line != want {
			t.Errorf("%s: recorded %swant %s", step.args, line, want)
		}
	}
	h.deliver("look@me.com", 2)
	said = h.syslog.String()
	h.do("", "maildrop", "purge", "look@me.com", "--yes")
	line := strings.TrimPrefix(h.syslog.String(), said)
	if !strings.Contains(line, " msg=expunged by="+by+" mailbox=look@me.com messages=2 ") || !strings.HasSuffix(line, ` reason="purged by the administrator"`+"\n") {
		t.Errorf("recorded %s", line)
	}
	h.do("", "mailbox", "remove", "look@me.com", "--yes")
	said = h.syslog.String()
	h.do("", "domain", "remove", "me.com")
	if line := strings.TrimPrefix(h.syslog.String(), said); !strings.HasSuffix(line, ` action="domain remove" domain=me.com`+"\n") {
		t.Errorf("recorded %s", line)
	}
	for _, secret := range []string{"geheim", "saltsalt", "argon2id"} {
		if strings.Contains(h.syslog.String(), secret) {
			t.Errorf("the log has %s", secret)
		}
	}
	// What is refused has changed nothing.
	said = h.syslog.String()
	h.refused("not hosted", "mailbox", "add", "look@me.com", "--generate")
	if h.syslog.String() != said {
		t.Errorf("recorded %s", strings.TrimPrefix(h.syslog.String(), said))
	}
}

// Whatever an address or the word of sudo holds, the system's log gets no orders to a
// terminal.
func TestRecordIsShownInWriting(t *testing.T) {
	h := newHouse(t, "SUDO_USER=an\x7f\u009b\ufeffna")
	h.do("", "domain", "add", "me.com")
	h.do("", "mailbox", "add", "l\u202e\u2066\u200fook@me.com", "--generate")
	record := h.syslog.String()
	for _, want := range []string{`mailbox="l\u202e\u2066\u200fook@me.com"`, `sudo="an\u007f\u009b\ufeffna"`} {
		if !strings.Contains(strings.ReplaceAll(record, `\x7f`, `\u007f`), want) {
			t.Errorf("%s is not in %q", want, record)
		}
	}
	if i := strings.IndexFunc(strings.ReplaceAll(record, "\n", ""), func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
		t.Errorf("raw in the record: %q", record[i:])
	}
	h.environ = []string{"SUDO_USER=an\x7fna"} // alone it is not put in quotes
	*h.syslog = logs.Recorder{}
	h.do("", "domain", "set", "me.com", "--quota", "1GiB")
	if record := h.syslog.String(); !strings.Contains(record, ` sudo=an\u007fna `) {
		t.Errorf("recorded %q", record)
	}
}

// A change counts also where it cannot be recorded, and that is said.
func TestNothingRecorded(t *testing.T) {
	h := newHouse(t)
	env := h.env()
	env.syslog = func() (io.WriteCloser, error) { return nil, errors.New("dial unixgram /dev/log: no such file") }
	var stdout, stderr strings.Builder
	code := run(t.Context(), []string{"domain", "add", "me.com"}, strings.NewReader(""), &stdout, &stderr, env)
	const want = "mailsrv: warning: nothing was recorded of this change, since the system's log does not take it: dial unixgram /dev/log: no such file\n"
	if code != exitDone || !strings.HasSuffix(stderr.String(), want) {
		t.Errorf("exit %d: %s", code, stderr.String())
	}
	stderr.Reset()
	if code := run(t.Context(), []string{"domain", "show", "me.com"}, strings.NewReader(""), &stdout, &stderr, env); code != exitDone || stderr.Len() > 0 {
		t.Errorf("exit %d: %s", code, stderr.String())
	}
}

func TestWhoIs(t *testing.T) {
	root, err := user.LookupId("0")
	if err != nil {
		t.Fatal(err)
	}
	const nobody = 4_000_000_000 // has no name
	for _, row := range []struct {
		uid       int
		variables []string
		by, sudo  string
	}{
		{0, nil, root.Username, ""},
		{0, []string{"SUDO_USER=anna", "SUDO_USERS=x"}, root.Username, "anna"},
		{nobody, []string{"SUDO_USER=anna"}, strconv.Itoa(nobody), "anna"}, // by its own word
	} {
		if by, sudo := whoIs(row.uid, row.variables); by != row.by || sudo != row.sudo {
			t.Errorf("%d %q: %s, %s", row.uid, row.variables, by, sudo)
		}
	}
}

var syslogForm = regexp.MustCompile(`^<22>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d mailsrv\[\d+\]: time=\S+ level=INFO msg=changed by=\S+( sudo=anna)? action="domain add" domain=me\.com\n?$`)

// The line arrives at a socket of either kind.
func TestSystemLog(t *testing.T) {
	for _, network := range []string{"unixgram", "unix"} {
		t.Run(network, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "log")
			lines := make(chan string, 1)
			switch network {
			case "unixgram":
				c, err := net.ListenPacket(network, socket)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				go func() {
					buffer := make([]byte, 4096)
					n, _, _ := c.ReadFrom(buffer)
					lines <- string(buffer[:n])
				}()
			default:
				l, err := net.Listen(network, socket)
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				go func() {
					c, err := l.Accept()
					if err != nil {
						return
					}
					defer c.Close()
					line, _ := bufio.NewReader(c).ReadString('\n')
					lines <- line
				}()
			}
			h := newHouse(t)
			c := h.process("domain", "add", "me.com")
			c.Env = append(c.Env, "RUN_WITH_LOG="+socket)
			if out, err := c.CombinedOutput(); err != nil || strings.Contains(string(out), "warning") {
				t.Fatalf("%v: %s", err, out)
			}
			if line := received(t, lines); !syslogForm.MatchString(line) {
				t.Errorf("%q", line)
			}
		})
	}
}

func received(t *testing.T, lines <-chan string) string {
	t.Helper()
	select {
	case line := <-lines:
		return line
	case <-time.After(20 * time.Second):
		t.Fatal("nothing was sent to the log")
		return ""
	}
}

// Root is named, and who used sudo, not the owner of the data whose identity was taken.
func TestRootIsNamed(t *testing.T) {
	if asroot.Rerun(t) {
		return
	}
	const nobody = 65534
	h := newHouse(t)
	for dir := filepath.Dir(h.dir); dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		chmod(t, dir, 0o755)
	}
	if err := os.Mkdir(h.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(h.dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(filepath.Dir(h.dir), "log")
	log, err := net.ListenPacket("unixgram", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	chmod(t, socket, 0o666)
	lines := make(chan string, 1)
	go func() {
		buffer := make([]byte, 4096)
		n, _, _ := log.ReadFrom(buffer)
		lines <- string(buffer[:n])
	}()
	c := h.process("domain", "add", "me.com")
	c.Env = append(c.Env, "RUN_WITH_LOG="+socket, "SUDO_USER=anna")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	root, _ := whoIs(0, nil)
	if line := received(t, lines); !syslogForm.MatchString(line) || !strings.Contains(line, " by="+root+" sudo=anna ") {
		t.Errorf("%q", line)
	}
}
