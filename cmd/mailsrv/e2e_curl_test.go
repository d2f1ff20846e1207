package main_test

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
)

// curl runs curl as look@me.com.
func (s *site) curl(stdin string, args ...string) result {
	s.t.Helper()
	return s.run(stdin, "curl", append([]string{"-sS", "--max-time", "50"}, args...)...)
}

// curlDo is curl for what must succeed.
func (s *site) curlDo(stdin string, args ...string) string {
	s.t.Helper()
	r := s.curl(stdin, args...)
	if r.code != 0 {
		s.t.Fatalf("curl %s: exit %d: %s", strings.Join(args, " "), r.code, r.stderr)
	}
	return r.stdout
}

// send sends a message as it is to an address.
func (s *site) send(to, message string, more ...string) {
	s.t.Helper()
	s.curlDo(message, append([]string{"--url", "smtp://" + s.server.smtp, "--mail-from", "you@example.org",
		"--mail-rcpt", to, "-T", "-"}, more...)...)
}

// pop3 asks the POP3 server as look@me.com; path and more are curl's.
func (s *site) pop3(path string, more ...string) string {
	s.t.Helper()
	return s.curlDo("", append([]string{"--url", "pop3://" + s.server.pop3 + path, "--user", "look@me.com:secret"}, more...)...)
}

// named turns host:port into the name on the certificate and the same port, and
// the arguments by which curl finds it.
func named(address string) (string, []string) {
	host, port, _ := net.SplitHostPort(address)
	return "mail.me.com:" + port, []string{"--resolve", "mail.me.com:" + port + ":" + host}
}

// Exit codes of curl.
const (
	curlWeirdReply  = 8
	curlUntrusted   = 60
	curlLoginDenied = 67
)

func TestCurlSendsAndFetches(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.mailbox("look@me.com")
	s.start()
	if list := s.pop3("/"); strings.TrimSpace(list) != "" {
		t.Errorf("an empty maildrop: %q", list)
	}

	s.send("look@me.com", strings.ReplaceAll(letter("one", "It works.\r\n"), "\r\n", "\n"), "--crlf")
	s.send("look@me.com", letter("two", "No --crlf: it has them.\r\n"))
	s.send("look@me.com", "Subject: three\n\nNo --crlf, and\nit has none.")
	var list strings.Builder
	for i, want := range []string{
		letter("one", "It works.\r\n"),
		letter("two", "No --crlf: it has them.\r\n"),
		"Subject: three\r\n\r\nNo --crlf, and\r\nit has none.\r\n",
	} {
		message := s.pop3(fmt.Sprintf("/%d", i+1))
		same(t, "message", content(t, message), want)
		fmt.Fprintf(&list, "%d %d\r\n", i+1, len(message))
	}
	same(t, "the list", s.pop3("/"), list.String())
	if uidl := s.pop3("/", "-X", "UIDL"); strings.Count(uidl, "\r\n") != 3 {
		t.Errorf("UIDL: %q", uidl)
	}
	top := s.pop3("/", "-X", "TOP 3 1")
	same(t, "TOP", content(t, top), "Subject: three\r\n\r\nNo --crlf, and\r\n")
	r := s.curl("", "--url", "pop3://"+s.server.pop3+"/4", "--user", "look@me.com:secret")
	if r.code != curlWeirdReply || r.stdout != "" {
		t.Errorf("a message that is not there: exit %d", r.code)
	}
}

func TestCurlDeletes(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.mailbox("look@me.com")
	s.start()
	s.send("look@me.com", letter("one", ""))
	s.send("look@me.com", letter("two", ""))
	s.pop3("/", "-I", "-X", "DELE 1") // -I: the reply is one line
	same(t, "the next one", content(t, s.pop3("/1")), letter("two", ""))
	if list := s.pop3("/"); strings.Count(list, "\r\n") != 1 {
		t.Errorf("%q", list)
	}
	s.pop3("/1", "-l", "-X", "DELE")
	if list := s.pop3("/"); strings.TrimSpace(list) != "" {
		t.Errorf("%q", list)
	}
}

func TestCurlWithAWrongPassword(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.mailbox("look@me.com")
	s.start()
	s.send("look@me.com", letter("one", ""))
	for _, user := range []string{"look@me.com:Secret", "nobody@me.com:secret"} {
		r := s.curl("", "--url", "pop3://"+s.server.pop3+"/1", "--user", user)
		if r.code != curlLoginDenied || r.stdout != "" {
			t.Errorf("%s: exit %d", user, r.code)
		}
	}
	s.pop3("/1")
}

func TestCurlOverTLS(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.mailbox("look@me.com")
	s.start()
	trust := []string{"--cacert", s.path("data/selfsigned.crt")}
	address, resolve := named(s.server.smtp)
	want := letter("secret", "STARTTLS\r\n")
	s.curlDo(want, slices.Concat(resolve, trust, []string{"--ssl-reqd", "--url", "smtp://" + address,
		"--mail-from", "you@example.org", "--mail-rcpt", "look@me.com", "-T", "-"})...)

	for _, target := range []struct{ scheme, address string }{{"pop3", s.server.pop3}, {"pop3s", s.server.pop3s}} {
		address, resolve := named(target.address)
		url := target.scheme + "://" + address + "/1"
		fetch := slices.Concat(resolve, []string{"--ssl-reqd", "--user", "look@me.com:secret", "--url", url})
		message := s.curlDo("", slices.Concat(fetch, trust)...)
		same(t, url, content(t, message), want)
		if !strings.Contains(message, " with ESMTPS ") {
			t.Errorf("the Received field does not tell of TLS:\n%s", message)
		}
		same(t, "--insecure", s.curlDo("", slices.Concat(fetch, []string{"--insecure"})...), message)
		if r := s.curl("", fetch...); r.code != curlUntrusted || r.stdout != "" {
			t.Errorf("a certificate of its own making: exit %d", r.code)
		}
	}
}
