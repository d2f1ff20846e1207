package main_test

import (
	"fmt"
	"strings"
	"testing"
)

// mutt presses keys in a mailbox. It runs on a terminal of its own, which script
// gives it; settings are lines of its configuration.
func (s *site) mutt(mailbox, keys string, settings ...string) {
	s.t.Helper()
	rc := s.write("muttrc", fmt.Sprintf(`
set pop_pass="secret"
set pop_authenticators="user"
set ssl_starttls=no
set ssl_force_tls=no
set ssl_verify_host=no
set ssl_ca_certificates_file="%s"
set certificate_file="%s"
set header_cache=""
set message_cachedir=""
set record=""
set folder="%s"
set confirmappend=no
set confirmcreate=no
set delete=yes
set quit=yes
set beep=no
%s
push "%s"
`, s.path("data/selfsigned.crt"), s.path("data/selfsigned.crt"), s.dir, strings.Join(settings, "\n"), keys))
	r := s.run("", "script", "-qec", fmt.Sprintf("TERM=vt100 exec mutt -n -F '%s' -f '%s'", rc, mailbox), "/dev/null")
	if r.code != 0 {
		s.t.Fatalf("mutt: exit %d", r.code)
	}
}

// muttURL is the maildrop of look@me.com as mutt writes it.
func muttURL(scheme, address string) string { return scheme + "://look%40me.com@" + address + "/" }

// A maildrop read as a folder: its messages are copied, one is deleted.
func TestMuttOpensTheMaildrop(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.mailbox("look@me.com")
	s.start()
	starttls := []string{"set ssl_starttls=yes", "set ssl_force_tls=yes"}
	for _, way := range []struct {
		name, url string
		tls       bool
		settings  []string
	}{
		{"plain", muttURL("pop", s.server.pop3), false, nil},
		{"starttls", muttURL("pop", s.server.pop3), true, starttls},
		{"implicit", muttURL("pops", s.server.pop3s), true, nil},
	} {
		s.send("look@me.com", letter("first", ".a dot first\r\n"))
		s.send("look@me.com", letter("second", "\r\n"))
		copied := "mbox-" + way.name
		s.mutt(way.url, "<tag-pattern>~A<enter><tag-prefix><copy-message>"+s.path(copied)+"<enter><delete-pattern>~s first<enter><quit>", way.settings...)
		if got := s.subjects(copied); got != "first second" {
			t.Errorf("%s: copied %q", way.name, got)
		}
		if !strings.Contains(s.read(copied), "\n\n.a dot first\n") {
			t.Errorf("%s: %q", way.name, s.read(copied))
		}
		s.server.log.await(t, "msg=expunged", "messages=1", map[bool]string{false: `tls="" `, true: `tls="TLS1.3 `}[way.tls])
		if list := s.pop3("/"); strings.Count(list, "\n") != 1 {
			t.Errorf("%s: left %q", way.name, list)
		}
		s.pop3("/", "-I", "-X", "DELE 1")
	}
}

// All mail fetched into a folder of one's own, as the key G does.
func TestMuttFetches(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.mailbox("look@me.com")
	s.start()
	spool := s.write("spool", "")
	fetch := func(want string, settings ...string) {
		t.Helper()
		s.mutt(spool, "<fetch-mail><quit>", append(settings,
			`set pop_host="`+muttURL("pops", s.server.pop3s)+`"`, `set spoolfile="`+spool+`"`)...)
		if got := s.subjects("spool"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	s.send("look@me.com", letter("one", ""))
	s.send("look@me.com", letter("two", ""))
	fetch("one two", "set pop_delete=no")
	fetch("one two one two", "set pop_delete=yes")
	if list := s.pop3("/"); strings.TrimSpace(list) != "" {
		t.Errorf("not deleted: %q", list)
	}
}
