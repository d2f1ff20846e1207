package main_test

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// damage overwrites the page of the database on which a text stands. No server runs.
func (s *site) damage(text string) {
	s.t.Helper()
	const page = 8192
	file := s.path("data/mailsrv.db")
	octets, err := os.ReadFile(file)
	if err != nil {
		s.t.Fatal(err)
	}
	at := bytes.Index(octets, []byte(text))
	if at < 0 {
		s.t.Fatalf("%q is not in the database", text)
	}
	at -= at % page
	clear(octets[at : at+page])
	if err := os.WriteFile(file, octets, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// A bad sector in one message: its owner hears of it before any text is sent, the log
// and check name it and what to do, everything else goes on, and a repair leaves a
// store that agrees with itself.
func TestDamagedMessage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.mailbox("look@me.com")
	s.start()
	filler := strings.Repeat("x", 70) + "\r\n"
	for _, subject := range []string{"one", "two", "three"} {
		s.send("look@me.com", letter(subject, "needle-"+subject+"\r\n"+strings.Repeat(filler, 100)))
	}
	uidls := strings.Fields(s.pop3("/", "-X", "UIDL")) // number, UIDL and so on
	first, third := s.pop3("/1"), s.pop3("/3")
	s.stop()
	s.damage("needle-two")

	k := s.start()
	same(t, "message 1", s.pop3("/1"), first)
	d, _ := s.loginPOP3(t)
	d.Do("RETR 2", "-ERR [SYS/PERM]")
	d.Do("TOP 2 0", "-ERR [SYS/PERM]")
	d.Do("QUIT", "+OK")
	same(t, "message 3", s.pop3("/3"), third)
	k.log.await(t, "level=ERROR", uidls[3], "look@me.com", "mailsrv check")
	s.send("look@me.com", letter("four", ""))
	fourth := s.pop3("/4")
	if r := s.mailsrv("", "check"); r.code != 1 || !strings.Contains(r.stdout, "look@me.com "+uidls[3]) || !strings.Contains(r.stderr, "mailsrv check --repair") {
		t.Error("check does not name the message, or what to do")
	}
	s.stop()

	if r := s.mailsrv("", "check", "--repair"); r.code != 0 || !strings.Contains(r.stdout, uidls[3]) {
		t.Error("the repair does not name the message that is lost")
	}
	s.start()
	same(t, "message 1", s.pop3("/1"), first)
	same(t, "message 2", s.pop3("/2"), third)
	same(t, "message 3", s.pop3("/3"), fourth)
	if after := strings.Fields(s.pop3("/", "-X", "UIDL")); after[1] != uidls[1] || after[3] != uidls[5] {
		t.Errorf("UIDLs are %q, were %q", after, uidls)
	}
}
