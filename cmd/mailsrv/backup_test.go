package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A backup restores into an empty directory, with the same list of messages,
// and neither command overwrites anything.
func TestBackupAndRestore(t *testing.T) {
	h := newHouse(t)
	h.do("", "domain", "add", "me.com")
	h.do("secret\n", "mailbox", "add", "look@me.com", "--password-stdin")
	h.deliver("look@me.com", 3)
	list := h.do("", "maildrop", "list", "look@me.com")
	file := filepath.Join(t.TempDir(), "backup.db")
	if got := h.do("", "backup", file); !strings.HasPrefix(got, file+" holds the store") {
		t.Errorf("backup printed %q", got)
	}
	h.refused("exists already: choose another name", "backup", file)
	h.refused("holds mail already", "restore", file)

	other := newHouse(t)
	other.do("", "restore", file)
	if got := other.do("", "maildrop", "list", "look@me.com"); got != list {
		t.Errorf("restored %q, want %q", got, list)
	}
	other.refused("no such file", "restore", file+".missing")
}

// storage.url may name another place than the data directory.
func TestRestoreElsewhere(t *testing.T) {
	h := newHouse(t)
	h.do("", "domain", "add", "me.com")
	file := filepath.Join(t.TempDir(), "backup.db")
	h.do("", "backup", file)
	database := filepath.Join(t.TempDir(), "mail.db")
	other := newHouse(t, "MAILSRV_STORAGE_URL=sqlite:"+database)
	other.do("", "restore", file)
	if _, err := os.Stat(database); err != nil || other.files() != "" {
		t.Errorf("restored to %q: %v", other.files(), err)
	}
	if got := other.do("", "domain", "list"); !strings.Contains(got, "me.com") {
		t.Errorf("restored %q", got)
	}
	other.refused("holds mail already", "restore", file)
}
