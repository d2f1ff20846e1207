package main_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailsrv/internal/listen"
)

// oneLine expects a start of the server to fail with one line that has all the
// parts.
func (s *site) oneLine(r result, parts ...string) {
	s.t.Helper()
	if r.code != 1 || strings.Count(r.stderr, "\n") != 1 || !strings.HasPrefix(r.stderr, "mailsrv: ") {
		s.t.Errorf("exit %d:\n%s", r.code, r.stderr)
	}
	for _, part := range parts {
		if !strings.Contains(r.stderr, part) {
			s.t.Errorf("no %q in: %s", part, r.stderr)
		}
	}
}

func TestStartsThatFail(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start()
	s.oneLine(s.mailsrv("", "serve"), "another mailsrv", s.path("data"))
	s.oneLine(s.mailsrv("", "check", "--repair"), s.path("data"))

	other := newSite(t, "smtp.listen: ["+s.server.smtp+"]")
	other.oneLine(other.mailsrv("", "serve"), "smtp.listen", s.server.smtp, "taken")

	other.configure(`smtp.listen: ["127.0.0.1:0"]`, "smtp.max_mesage_size: 1MiB")
	other.oneLine(other.mailsrv("", "serve"), "smtp.max_mesage_size", other.path("mailsrv.yaml"))
	delete(other.settings, "smtp.max_mesage_size")
	other.configure("smtp.max_message_size: much")
	other.oneLine(other.mailsrv("", "serve"), "smtp.max_message_size", other.path("mailsrv.yaml"))
	other.configure("smtp.max_message_size: 1MiB")

	other.write("mailsrv.yaml", "smtp: [\n")
	other.oneLine(other.mailsrv("", "serve"), other.path("mailsrv.yaml"))
	other.configure()
	other.start() // after all that
}

// begin opens a mail transaction up to the content.
func begin(t *testing.T, s *site) *dialogue {
	t.Helper()
	d, _ := dial(t, "127.0.0.1", s.server.smtp)
	d.Do("EHLO client.example.org", "250")
	d.Do("MAIL FROM:<you@example.org>", "250")
	d.Do("RCPT TO:<look@me.com>", "250")
	d.Do("DATA", "354")
	return d
}

// SIGTERM lets transfers finish, in both protocols, and nothing new begin.
func TestDrain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.mailbox("look@me.com")
	s.start()
	want := letter("big", strings.Repeat(strings.Repeat("y", 998)+"\r\n", 20_000)) // more than any socket buffer
	s.send("look@me.com", want)

	sending := begin(t, s)
	fmt.Fprint(sending, "Subject: in transfer\r\n\r\nfirst half\r\n")
	fetching, _ := dial(t, "127.0.0.1", s.server.pop3)
	fetching.Do("USER look@me.com", "+OK")
	fetching.Do("PASS secret", "+OK")
	fetching.Do("RETR 1", "+OK")
	idleSMTP, _ := dial(t, "127.0.0.1", s.server.smtp)
	idlePOP3, _ := dial(t, "127.0.0.1", s.server.pop3)

	s.signal(syscall.SIGTERM)
	if said := idleSMTP.ends(); !strings.HasPrefix(said, "421 4.3.2 ") {
		t.Errorf("an idle SMTP session: %q", said)
	}
	if said := idlePOP3.ends(); !strings.HasPrefix(said, "-ERR [SYS/TEMP] ") {
		t.Errorf("an idle POP3 session: %q", said)
	}
	for _, address := range []string{s.server.smtp, s.server.pop3, s.server.pop3s} {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			t.Errorf("%s takes connections", address)
		}
	}
	sending.Do("second half\r\n.", "250 ")
	message, _, whole := strings.Cut(fetching.ends(), "\r\n.\r\n")
	if !whole {
		t.Error("the message was cut off")
	}
	same(t, "the message", content(t, message+"\r\n"), want)
	s.awaitEnd(0)
	s.start()
	same(t, "the one in transfer", content(t, s.pop3("/2")), "Subject: in transfer\r\n\r\nfirst half\r\nsecond half\r\n")
}

// A transfer that does not finish does not hold up the end.
func TestDrainHasAnEnd(t *testing.T) {
	t.Parallel()
	s := newSite(t, "shutdown_timeout: 200ms")
	s.mailbox("look@me.com")
	s.start()
	d := begin(t, s)
	fmt.Fprint(d, "Subject: half\r\n\r\n")
	s.stop()
	io.Copy(io.Discard, d.In)
	s.start()
	if list := s.pop3("/"); strings.TrimSpace(list) != "" {
		t.Errorf("half a message is there: %s", list)
	}
}

func TestReloadOfCertificateAndLimits(t *testing.T) {
	t.Parallel()
	s := newSite(t, "hostname: one.example", "quota.default_messages: 1")
	s.mailbox("look@me.com")
	pair := func(host string) {
		t.Helper()
		cert, key, _, err := listen.SelfSigned(t.TempDir(), host)
		if err != nil {
			t.Fatal(err)
		}
		for from, to := range map[string]string{cert: "server.crt", key: "server.key"} {
			if err := os.Rename(from, s.path(to)); err != nil {
				t.Fatal(err)
			}
		}
	}
	pair("one.example")
	s.configure("tls.cert_file: server.crt", "tls.key_file: server.key")
	s.start()
	shown := func() string {
		t.Helper()
		c, err := tls.Dial("tcp", s.server.pop3s, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	if got := shown(); got != "one.example" {
		t.Errorf("got %s", got)
	}
	s.send("look@me.com", letter("one", ""))
	if r := s.upload("look@me.com", letter("two", "")); !strings.Contains(r.stderr, "\n< 552 5.2.2 ") {
		t.Error("more than one message")
	}
	open, _ := dial(t, "127.0.0.1", s.server.pop3)

	pair("two.example")
	s.configure("quota.default_messages: 2", "smtp.max_connections_per_client: 1", "hostname: two.example")
	s.signal(syscall.SIGHUP)
	s.server.log.await(t, "msg=reloaded", "quota.default_messages", "smtp.max_connections_per_client")
	s.server.log.await(t, "level=WARN", "restart: hostname")
	if got := shown(); got != "two.example" {
		t.Errorf("after the reload: %s", got)
	}
	s.send("look@me.com", letter("two", ""))
	first, greeting := dial(t, "127.0.0.1", s.server.smtp)
	for end := time.Now().Add(10 * time.Second); strings.HasPrefix(greeting, "421 ") && time.Now().Before(end); {
		first, greeting = dial(t, "127.0.0.1", s.server.smtp) // curl's place is free once the server has seen it go
	}
	if _, greeting := dial(t, "127.0.0.1", s.server.smtp); !strings.HasPrefix(greeting, "421 ") {
		t.Errorf("a second connection: %s", greeting)
	}
	first.Do("QUIT", "221")
	open.Do("QUIT", "+OK") // a session lives on

	s.write("mailsrv.yaml", "quota: {default_messages: many}\n")
	s.signal(syscall.SIGHUP)
	s.server.log.await(t, "level=ERROR", "nothing was reloaded", "quota.default_messages")
	s.pop3("/2")
	s.configure()
}

func TestReadinessIsNotified(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	socket.SetReadDeadline(time.Now().Add(patience))
	next := func(want string) {
		t.Helper()
		buffer := make([]byte, 512)
		n, err := socket.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(buffer[:n]); !strings.HasPrefix(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	s.start("NOTIFY_SOCKET=" + path)
	next("READY=1")
	s.signal(syscall.SIGHUP)
	next("RELOADING=1\nMONOTONIC_USEC=")
	next("READY=1")
	s.stop()
	next("STOPPING=1")
}
