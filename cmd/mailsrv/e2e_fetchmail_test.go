package main_test

import (
	"fmt"
	"strings"
	"testing"
)

// Exit codes of fetchmail.
const (
	fetchmailNoMail   = 1
	fetchmailSecurity = 2 // the connection could not be made, or not be trusted
	fetchmailAuth     = 3
)

// fetchmail polls a server at host:port for look@me.com and appends what it
// gets to the file inbox. serverOptions and userOptions are those of fetchmailrc.
func (s *site) fetchmail(address, serverOptions, userOptions string) result {
	s.t.Helper()
	host, port, _ := strings.Cut(address, ":")
	rc := s.write("fetchmailrc", fmt.Sprintf(`
set no syslog
set invisible
poll %s with proto POP3 port %s %s
  user "look@me.com" password "secret" no rewrite mda "cat >>'%s'"
  %s
`, host, port, serverOptions, s.path("inbox"), userOptions))
	return s.run("", "fetchmail", "--fetchmailrc", rc, "--idfile", s.path("fetchids"), "--pidfile", s.path("fetchmail.pid"))
}

// subjects is what the Subject fields of a file say, in order.
func (s *site) subjects(file string) string {
	s.t.Helper()
	var all []string
	for line := range strings.Lines(s.read(file)) {
		if subject, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), "Subject: "); ok {
			all = append(all, subject)
		}
	}
	return strings.Join(all, " ")
}

func TestFetchmailFetchesAndDeletes(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.mailbox("look@me.com")
	s.start()
	s.send("look@me.com", letter("one", ".a dot first\r\ngr\xfcn\r\n"))
	s.send("look@me.com", letter("two", "\r\n"))
	if r := s.fetchmail(s.server.pop3, "", "sslproto ''"); r.code != 0 {
		t.Fatalf("exit %d", r.code)
	}
	if got := s.subjects("inbox"); got != "one two" {
		t.Errorf("got %s", got)
	}
	if !strings.Contains(s.read("inbox"), "\n\n.a dot first\ngr\xfcn\n") {
		t.Errorf("%q", s.read("inbox"))
	}
	if r := s.fetchmail(s.server.pop3, "", "sslproto ''"); r.code != fetchmailNoMail {
		t.Errorf("the second time: exit %d", r.code)
	}
}

// Messages stay on the server, and none is fetched twice.
func TestFetchmailKeeps(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.mailbox("look@me.com")
	s.start()
	s.send("look@me.com", letter("one", ""))
	s.send("look@me.com", letter("two", ""))
	poll := func(want string, code int) {
		t.Helper()
		if r := s.fetchmail(s.server.pop3, "uidl", "keep sslproto ''"); r.code != code {
			t.Errorf("exit %d, want %d", r.code, code)
		}
		if got := s.subjects("inbox"); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	poll("one two", 0)
	poll("one two", fetchmailNoMail)
	s.send("look@me.com", letter("three", ""))
	poll("one two three", 0)
	s.stop()
	s.start()
	s.send("look@me.com", letter("four", ""))
	poll("one two three four", 0)
	if list := s.pop3("/"); strings.Count(list, "\n") != 4 {
		t.Errorf("left on the server: %q", list)
	}
}

func TestFetchmailOverTLS(t *testing.T) {
	t.Parallel()
	s := newSite(t, "pop3.plaintext_login: never")
	s.mailbox("look@me.com")
	s.start()
	trust := fmt.Sprintf("sslcertck sslcertfile '%s' sslcommonname 'mail.me.com'", s.path("data/selfsigned.crt"))
	s.send("look@me.com", letter("stls", ""))
	if r := s.fetchmail(s.server.pop3, "", "sslproto 'auto' "+trust); r.code != 0 {
		t.Errorf("STLS: exit %d", r.code)
	}
	s.send("look@me.com", letter("implicit", ""))
	if r := s.fetchmail(s.server.pop3s, "", "ssl "+trust); r.code != 0 {
		t.Errorf("implicit TLS: exit %d", r.code)
	}
	if got := s.subjects("inbox"); got != "stls implicit" {
		t.Errorf("got %s", got)
	}
	s.send("look@me.com", letter("left", ""))
	if r := s.fetchmail(s.server.pop3s, "", "ssl sslcertck sslcertfile /dev/null"); r.code != fetchmailSecurity {
		t.Errorf("a certificate of its own making: exit %d", r.code)
	}
	if r := s.fetchmail(s.server.pop3, "", "sslproto ''"); r.code != fetchmailAuth {
		t.Errorf("no password without TLS: exit %d", r.code)
	}
}
