//go:build cgo

package pop3d_test

import (
	"strings"
	"testing"

	"mailsrv/internal/directory"
	"mailsrv/storage"
	"mailsrv/storage/sqlite"
)

// uidls returns the UIDLs that a session hears, in order.
func (s *setup) uidls(t *testing.T, name string) (all []string) {
	t.Helper()
	c := s.login(t, name)
	c.send("UIDL\r\nQUIT\r\n")
	c.want("+OK")
	for line := c.line(); line != "."; line = c.line() {
		_, uidl, _ := strings.Cut(line, " ")
		all = append(all, uidl)
	}
	c.wantEnd()
	return all
}

// A UIDL names one message for good: no other message of the maildrop has it,
// whatever was deleted before, and it stays over sessions and a new start.
func TestUIDLsAreUniqueAndStable(t *testing.T) {
	s := startReal(t, nil)
	id := s.mailbox("look@me.com", directory.Retention{})
	ever := map[string]bool{}
	var kept []string
	for range 12 {
		for range 12 {
			uidl := s.deliver(id, "Subject: the same again\r\n\r\n")
			if len(uidl) < 1 || len(uidl) > 70 || strings.Trim(uidl, "abcdefghijklmnopqrstuvwxyz234567") != "" {
				t.Fatalf("UIDL %q", uidl)
			}
			if ever[uidl] {
				t.Fatalf("%s for a second message", uidl)
			}
			ever[uidl] = true
			kept = append(kept, uidl)
		}
		if got := s.uidls(t, "look@me.com"); strings.Join(got, " ") != strings.Join(kept, " ") {
			t.Fatalf("got %v, want %v", got, kept)
		}
		c := s.login(t, "look@me.com")
		c.send("DELE 1\r\nDELE 11\r\nQUIT\r\n")
		c.wantEnd()
		kept = append(kept[1:10:10], kept[11:]...)
	}
	again, err := sqlite.Open(t.Context(), s.dir, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	drop, err := again.OpenMaildrop(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := storage.AllEntries(t.Context(), drop)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range entries {
		if e.UIDL != kept[i] {
			t.Errorf("message %d is %s after a new start, was %s", i+1, e.UIDL, kept[i])
		}
	}
}
