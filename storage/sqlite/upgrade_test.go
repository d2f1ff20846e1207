package sqlite

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"mailsrv/storage"
	"mailsrv/storage/sqlite/db"
)

// A store of a later release serves on beside it where that allows it; what only the
// later release knows enough for is left to it.
func TestNewerStoreThatMayBeWritten(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	h.tamper("PRAGMA user_version = 2; ALTER TABLE entry ADD COLUMN later INTEGER NOT NULL DEFAULT 0")
	h.Close()
	h.open(Options{Server: true})
	h.must(h.deliver("m", "xxx"))
	d, entries := h.entries()
	if len(entries) != 1 {
		t.Fatalf("%d entries", len(entries))
	}
	_, err := d.Update(background, nil, storage.Change{Expunge: storage.UIDs(entries)})
	h.must(err)
	if _, err := h.Check(background, false, func(storage.Finding) {}); !errors.Is(err, storage.ErrNewer) {
		t.Errorf("check: %v", err)
	}
	h.Close()
	if _, err := Rebuild(background, h.dir, Options{}, func(storage.Finding) {}); !errors.Is(err, storage.ErrNewer) {
		t.Errorf("rebuild: %v", err)
	}
	defer func() { h.Store = nil }()
	h.tamper("UPDATE store SET least = 2")
	if _, err := Open(background, h.dir, Options{}); !errors.Is(err, storage.ErrNewer) {
		t.Errorf("a store that must not be written: %v", err)
	}
	h.tamper("DELETE FROM store")
	if _, err := Open(background, h.dir, Options{}); !errors.Is(err, storage.ErrNewer) {
		t.Errorf("a store that says nothing: %v", err)
	}
}

// An upgrade waits for the server of the older version, and none begins before the
// store is closed again.
func TestUpgradeHoldsTheStore(t *testing.T) {
	h := newHouse(t, Options{})
	older, err := db.LockStore(h.dir, h.path)
	h.must(err)
	if err := h.beforeUpgrade(1); !errors.Is(err, storage.ErrLocked) {
		t.Errorf("beside an older server: %v", err)
	}
	older.Release()
	h.must(h.beforeUpgrade(1))
	if _, err := db.LockStore(h.dir, h.path); !errors.Is(err, storage.ErrLocked) {
		t.Errorf("an older server may begin: %v", err)
	}
	h.Close()
	h.Store = nil
	held, err := db.LockStore(h.dir, filepath.Join(h.dir, "mailsrv.db"))
	h.must(err)
	held.Release()
}

func TestForeignDatabases(t *testing.T) {
	for name, test := range map[string]struct {
		script string
		want   error
	}{
		"another program's":       {"CREATE TABLE x (y)", storage.ErrForeign},
		"one with our number":     {"CREATE TABLE x (y); PRAGMA user_version = 1", storage.ErrForeign},
		"one that has an id":      {"PRAGMA application_id = 77; PRAGMA user_version = 1", storage.ErrForeign},
		"before the first":        {"CREATE TABLE maildrop (id); PRAGMA application_id = 0x6d61696c; PRAGMA user_version = 2", storage.ErrEarly},
		"before the first, empty": {"PRAGMA application_id = 0x6d61696c; PRAGMA user_version = 1", storage.ErrEarly},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "mailsrv.db")
			c, err := db.Open(path, 100)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(c.Script(test.script), c.Close()); err != nil {
				t.Fatal(err)
			}
			before, _ := os.ReadFile(path)
			if _, err := Open(background, dir, Options{}); !errors.Is(err, test.want) {
				t.Errorf("open: %v", err)
			}
			if _, err := Rebuild(background, dir, Options{}, func(storage.Finding) {}); !errors.Is(err, test.want) {
				t.Errorf("rebuild: %v", err)
			}
			if err := restore(t, t.TempDir(), path); err == nil {
				t.Error("restored")
			}
			if after, _ := os.ReadFile(path); string(after) != string(before) {
				t.Error("it was changed")
			}
		})
	}
}
