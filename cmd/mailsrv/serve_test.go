package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/smtp"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"mailsrv/internal/logs"
	"mailsrv/test/kit"
)

// running is a server that serve runs in this process.
type running struct {
	*house
	log    *logs.Recorder
	cancel context.CancelFunc
	done   chan struct{}
	code   int // once done is closed
}

// serve starts a server on ports that are free and waits until it is ready.
func (h *house) serve(flags ...string) *running {
	h.t.Helper()
	h.environ = append(h.environ, "MAILSRV_SMTP_LISTEN=127.0.0.1:0",
		"MAILSRV_POP3_LISTEN=127.0.0.1:0", "MAILSRV_POP3_LISTEN_TLS=127.0.0.1:0")
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{house: h, log: &logs.Recorder{}, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.code = run(ctx, append([]string{"serve"}, flags...), strings.NewReader(""), r.log, r.log, h.env())
	}()
	h.t.Cleanup(func() {
		r.stop()
		if h.t.Failed() {
			h.t.Logf("log:\n%s", r.log)
		}
	})
	await(h.t, "the server", func() bool { return r.logged("msg=ready") })
	return r
}

func (r *running) logged(parts ...string) bool {
	for line := range strings.Lines(r.log.String()) {
		all := true
		for _, part := range parts {
			all = all && strings.Contains(line, part)
		}
		if all {
			return true
		}
	}
	return false
}

var listening = regexp.MustCompile(`msg=listening proto=(\w+) address=(\S+) tls=(\w+)`)

func (r *running) address(proto, security string) string {
	for _, m := range listening.FindAllStringSubmatch(r.log.String(), -1) {
		if m[1] == proto && m[3] == security {
			return m[2]
		}
	}
	r.t.Fatalf("no %s %s in the log:\n%s", proto, security, r.log)
	return ""
}

// open reports whether a port without TLS takes connections.
func (r *running) open(proto string) bool {
	c, err := net.Dial("tcp", r.address(proto, "starttls"))
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// stop ends the server and returns its exit code.
func (r *running) stop() int {
	r.t.Helper()
	r.cancel()
	return r.ended()
}

func (r *running) ended() int {
	r.t.Helper()
	select {
	case <-r.done:
		return r.code
	case <-time.After(20 * time.Second):
		r.t.Fatalf("the server does not end:\n%s", r.log)
		return -1
	}
}

// send hands in a message and returns the server's refusal.
func (r *running) send(to string) error {
	return kit.Send(r.address("smtp", "starttls"), to, "Subject: hello\r\n\r\n"+strings.Repeat("text\r\n", 100))
}

// pop3 carries out commands and returns the replies; those of several lines
// are cut to the first.
func (r *running) pop3(commands ...string) (replies []string) {
	r.t.Helper()
	c := kit.Dial(r.t, r.address("pop3", "starttls"))
	defer c.Close()
	c.Line()
	for _, command := range commands {
		c.Say(command + "\r\n")
		replies = append(replies, c.Line())
	}
	return replies
}

func (r *running) login(password string) string {
	replies := r.pop3("USER look@me.com", "PASS "+password, "STAT", "QUIT")
	if strings.HasPrefix(replies[1], "+OK") {
		return replies[2]
	}
	return replies[1]
}

func TestCommandsBesideAServer(t *testing.T) {
	h := newHouse(t, "MAILSRV_SHUTDOWN_TIMEOUT=5s")
	r := h.serve()
	if err := r.send("look@me.com"); err == nil || !strings.HasPrefix(err.Error(), "550 ") {
		t.Errorf("not hosted: %v", err)
	}
	h.do("", "domain", "add", "me.com")
	h.do("one", "mailbox", "add", "look@me.com", "--password-stdin")
	if err := r.send("look@me.com"); err != nil {
		t.Errorf("a new mailbox does not receive: %v", err)
	}
	if reply := r.login("one"); !strings.HasPrefix(reply, "+OK 1 ") {
		t.Errorf("a new mailbox: %s", reply)
	}
	h.do("two", "mailbox", "passwd", "look@me.com", "--password-stdin")
	if reply := r.login("two"); !strings.HasPrefix(reply, "+OK 1 ") {
		t.Errorf("the new password: %s", reply)
	}
	if reply := r.login("one"); !strings.HasPrefix(reply, "-ERR [AUTH]") {
		t.Errorf("the old password: %s", reply)
	}
	h.do("", "quota", "set", "look@me.com", "1KiB")
	if err := r.send("look@me.com"); err == nil || !strings.HasPrefix(err.Error(), "552 ") {
		t.Errorf("a lowered limit: %v", err)
	}
	h.do("", "quota", "set", "look@me.com", "inherit")
	h.do("three", "mailbox", "add", "b@me.com", "--password-stdin")
	h.do("", "alias", "add", "all@me.com", "look@me.com", "b@me.com")
	if err := r.send("all@me.com"); err != nil {
		t.Errorf("a new alias: %v", err)
	}
	h.do("", "domain", "set", "me.com", "--postmaster", "b@me.com")
	h.do("", "alias", "remove", "all@me.com")
	h.do("", "mailbox", "disable", "look@me.com")
	if err := r.send("look@me.com"); err == nil || !strings.HasPrefix(err.Error(), "550 ") {
		t.Errorf("a disabled mailbox receives: %v", err)
	}
	if reply := r.login("two"); !strings.HasPrefix(reply, "-ERR [AUTH]") {
		t.Errorf("a disabled mailbox: %s", reply)
	}
	h.do("", "mailbox", "enable", "look@me.com")
	h.do("", "maildrop", "purge", "look@me.com", "--yes")
	if reply := r.login("two"); reply != "+OK 0 0" {
		t.Errorf("after the purge: %s", reply)
	}
	h.do("", "check")
	if code := r.stop(); code != exitDone || !r.logged("msg=stopped") {
		t.Errorf("exit %d", code)
	}
	h.do("", "check")
}

// Commands and deliveries wait for each other's writes; none fails.
func TestManyCommandsAtOnce(t *testing.T) {
	h := newHouse(t)
	r := h.serve()
	h.do("", "domain", "add", "me.com")
	h.do("one", "mailbox", "add", "look@me.com", "--password-stdin")
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			address := fmt.Sprintf("m%d@me.com", i)
			for _, args := range [][]string{
				{"mailbox", "add", address, "--hash-stdin"},
				{"mailbox", "set", address, "--quota", "1MiB"},
				{"alias", "add", "all@me.com", address},
				{"mailbox", "list"},
			} {
				stdin := "$5$rounds=1000$saltsalt$CWJMHmfgpSEIGI0CJSKSHfgbPLhbsb7XiaSdPJq37kC"
				if _, stderr, code := h.run(stdin, args...); code != exitDone {
					t.Errorf("%v: exit %d: %s", args, code, stderr)
				}
			}
		})
		all.Go(func() {
			for range 5 {
				if err := r.send("look@me.com"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if n := strings.Count(h.do("", "alias", "list"), "@me.com\n"); n != 8 {
		t.Errorf("%d targets", n)
	}
	if reply := r.login("one"); !strings.HasPrefix(reply, "+OK 40 ") {
		t.Error(reply)
	}
	r.stop()
	h.do("", "check")
}

func TestOneServerPerDirectory(t *testing.T) {
	h := newHouse(t)
	r := h.serve()
	defer r.stop()
	for _, args := range [][]string{{"serve"}, {"check", "--repair"}} {
		_, stderr, code := h.run("", args...)
		last := stderr[strings.LastIndex(strings.TrimSuffix(stderr, "\n"), "\n")+1:]
		if code != exitFailed || !strings.HasPrefix(last, "mailsrv: ") || !strings.Contains(last, h.dir) {
			t.Errorf("%v: exit %d: %s", args, code, stderr)
		}
	}
}

func TestBadStarts(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	dir := t.TempDir()
	none := filepath.Join(dir, "none.pem")
	for _, row := range []struct {
		name    string
		environ []string
		want    string
	}{
		{"port taken", []string{"MAILSRV_SMTP_LISTEN=127.0.0.1:" + port},
			"mailsrv: smtp.listen 127.0.0.1:" + port + " is taken by another program, perhaps another mail server: find it with: ss -ltnp sport = :" + port + " (no configuration file)\n"},
		{"address elsewhere", []string{"MAILSRV_SMTP_LISTEN=192.0.2.1:2525"},
			"mailsrv: smtp.listen 192.0.2.1:2525 is no address of this machine: see: ip address (no configuration file)\n"},
		{"nothing", []string{"MAILSRV_SMTP_LISTEN="},
			"mailsrv: there is nothing to listen on: set smtp.listen, pop3.listen or pop3.listen_tls (no configuration file)\n"},
		{"no such store", []string{"MAILSRV_STORAGE_URL=postgres://db/mail"},
			"mailsrv: no configuration file: storage.url: this build knows sqlite alone: write sqlite:PATH, or nothing for mailsrv.db in data_dir\n"},
		{"bad value", []string{"MAILSRV_SMTP_LISTEN=25"},
			"mailsrv: environment MAILSRV_SMTP_LISTEN \"25\": write host:port, such as :25, 127.0.0.1:2525 or [::1]:2525\n"},
		{"no certificate", []string{"MAILSRV_SMTP_LISTEN=127.0.0.1:0", "MAILSRV_TLS_CERT_FILE=" + none, "MAILSRV_TLS_KEY_FILE=" + none},
			"mailsrv: TLS certificate: open " + none + ": no such file or directory (data directory DATA, no configuration file)\n"},
		{"data directory is a file", []string{"MAILSRV_SMTP_LISTEN=127.0.0.1:0", "MAILSRV_DATA_DIR=/dev/null"},
			"mailsrv: data_dir /dev/null is not a folder: set it to one (no configuration file)\n"},
		{"data directory without parent", []string{"MAILSRV_SMTP_LISTEN=127.0.0.1:0", "MAILSRV_DATA_DIR=" + dir + "/a/b"},
			"mailsrv: the data directory cannot be made: mkdir " + dir + "/a/b: no such file or directory: make it for the user who runs the server, or set data_dir (no configuration file)\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			h := newHouse(t, append([]string{"MAILSRV_POP3_LISTEN=", "MAILSRV_POP3_LISTEN_TLS="}, row.environ...)...)
			_, stderr, code := h.run("", "serve")
			var errors []string
			for line := range strings.Lines(strings.ReplaceAll(stderr, h.dir, "DATA")) {
				if !strings.HasPrefix(line, "time=") && !strings.HasPrefix(line, "mailsrv: made the data") {
					errors = append(errors, line)
				}
			}
			if got := strings.Join(errors, ""); code != exitFailed || got != row.want {
				t.Errorf("exit %d\ngot  %swant %s", code, got, row.want)
			}
		})
	}
}

func TestDrain(t *testing.T) {
	h := newHouse(t, "MAILSRV_SHUTDOWN_TIMEOUT=20s")
	r := h.serve()
	h.do("", "domain", "add", "me.com")
	h.do("", "mailbox", "add", "look@me.com", "--generate")
	idle, err := net.Dial("tcp", r.address("pop3", "starttls"))
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	if _, err := bufio.NewReader(idle).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	client, err := smtp.Dial(r.address("smtp", "starttls"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Mail("a@b.example"); err != nil {
		t.Fatal(err)
	}
	if err := client.Rcpt("look@me.com"); err != nil {
		t.Fatal(err)
	}
	content, err := client.Data()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(content, "Subject: in transfer\r\n\r\n")
	h.transferBegins(client)
	r.cancel()
	idle.SetReadDeadline(time.Now().Add(20 * time.Second))
	for buffer := make([]byte, 512); err == nil; {
		_, err = idle.Read(buffer)
	}
	if os.IsTimeout(err) {
		t.Error("an idle session lives on")
	}
	await(t, "the port to be closed", func() bool { return !r.open("smtp") })
	if err := content.Close(); err != nil {
		t.Errorf("the running transfer was not finished: %v", err)
	}
	if code := r.ended(); code != exitDone {
		t.Errorf("exit %d", code)
	}
	if !strings.Contains(h.do("", "quota", "show"), " 1 ") {
		t.Error("the message is not there")
	}
}

// transferBegins sends what the client has written of a content, and waits until the
// server has begun to take it.
func (h *house) transferBegins(client *smtp.Client) {
	h.t.Helper()
	if err := client.Text.W.Flush(); err != nil {
		h.t.Fatal(err)
	}
	await(h.t, "the transfer to begin", func() bool { return strings.Contains(h.do("", "sessions", "list"), "at work") })
}

func TestDrainEndsInTime(t *testing.T) {
	h := newHouse(t, "MAILSRV_SHUTDOWN_TIMEOUT=50ms")
	r := h.serve()
	h.do("", "domain", "add", "me.com")
	h.do("", "mailbox", "add", "look@me.com", "--generate")
	client, err := smtp.Dial(r.address("smtp", "starttls"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	client.Mail("a@b.example")
	client.Rcpt("look@me.com")
	content, err := client.Data()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(content, "Subject: in transfer\r\n\r\n")
	h.transferBegins(client)
	if code := r.stop(); code != exitDone || !r.logged("cut off") {
		t.Errorf("exit %d", code)
	}
	h.do("", "check")
}

// smtp.trusted_networks says who may guess; a reload takes it over.
func TestTrustedNetworks(t *testing.T) {
	h := newHouse(t)
	h.configure("smtp: {trusted_networks: []}\n")
	r := h.serve()
	greeting := func() string {
		t.Helper()
		c := kit.Dial(t, r.address("smtp", "starttls"))
		defer c.Close()
		line := c.Line()
		if strings.HasPrefix(line, "220 ") {
			c.Say(strings.Repeat("GET / HTTP/1.1\r\n", 4)) // a thousand of these are enough
			c.End()
		}
		return line
	}
	for i := range 250 {
		if line := greeting(); !strings.HasPrefix(line, "220 ") {
			t.Fatalf("connection %d: %s", i, line)
		}
	}
	if line := greeting(); !strings.HasPrefix(line, "421 4.7.0 ") {
		t.Errorf("who guesses hears %s", line)
	}
	h.configure("smtp: {trusted_networks: [127.0.0.0/8]}\n")
	h.do("", "reload")
	if line := greeting(); !strings.HasPrefix(line, "220 ") {
		t.Errorf("who is trusted hears %s", line)
	}
}
