package main_test

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// uidls are those that the server lists for look@me.com.
func (s *site) uidls() []string {
	s.t.Helper()
	var all []string
	for line := range strings.Lines(s.pop3("/", "-X", "UIDL")) {
		_, uidl, _ := strings.Cut(strings.TrimSpace(line), " ")
		all = append(all, uidl)
	}
	return all
}

// Mail programs that leave mail on the server go on after a restore as if nothing
// had been: nothing comes twice, and what comes anew has a name that nothing had.
func TestRestoredMailIsNotFetchedTwice(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.mailbox("look@me.com")
	s.start()
	poll := func(want string) {
		t.Helper()
		s.fetchmail(s.server.pop3, "uidl", "keep sslproto ''")
		s.mpopDo(s.server.pop3, "tls off", "keep on", "only_new on", "delivery mbox "+s.path("mbox"))
		for _, file := range []string{"inbox", "mbox"} {
			if got := s.subjects(file); got != want {
				t.Errorf("%s: got %s, want %s", file, got, want)
			}
		}
	}
	s.send("look@me.com", letter("one", ""))
	s.send("look@me.com", letter("two", ""))
	poll("one two")
	kept := s.uidls()
	s.do("backup", s.path("copy"))
	s.send("look@me.com", letter("lost", ""))
	poll("one two lost")
	old := s.uidls()

	s.stop()
	if err := os.Rename(s.path("data"), s.path("before")); err != nil {
		t.Fatal(err)
	}
	s.do("restore", s.path("copy"))
	s.start()
	if got := s.uidls(); len(got) != 2 || !slices.Equal(got, kept) {
		t.Errorf("restored %v, want %v", got, kept)
	}
	poll("one two lost")
	s.send("look@me.com", letter("three", ""))
	s.send("look@me.com", letter("four", ""))
	poll("one two lost three four")
	fresh := s.uidls()[2:]
	if len(fresh) != 2 || slices.Contains(old, fresh[0]) || slices.Contains(old, fresh[1]) {
		t.Errorf("new messages got %v, old ones had %v", fresh, old)
	}
	poll("one two lost three four")
}
