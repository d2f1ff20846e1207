package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

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

// What is no store of ours is not changed, whichever way leads there, and nothing is made
// beside it.
func TestNothingIsMadeBesideWhatIsNotOurs(t *testing.T) {
	theirs := func(t *testing.T, path string, make func(path string) error) {
		t.Helper()
		if err := make(path); err != nil {
			t.Fatal(err)
		}
	}
	text := func(path string) error { return os.WriteFile(path, []byte("root:x:0:0:root:/root:/bin/bash\n"), 0o644) }
	database := func(path string) error {
		err := os.WriteFile(path, nil, 0o600)
		if err != nil {
			return err
		}
		c, err := db.OpenPlain(path)
		if err != nil {
			return err
		}
		return errors.Join(c.Script("CREATE TABLE theirs (x INTEGER)"), c.Close(), os.Chmod(path, 0o644))
	}
	link := func(make func(string) error) func(string) error {
		return func(path string) error {
			there := path + ".there"
			if make != nil {
				if err := make(there); err != nil {
					return err
				}
			}
			return os.Symlink(there, path)
		}
	}
	empty := func(path string) error { return os.WriteFile(path, nil, 0o644) }
	for name, make := range map[string]func(string) error{
		"a text":                      text,
		"another program's":           database,
		"a link to a text":            link(text),
		"a link to another program's": link(database),
		"a link to an empty file":     link(empty),
		"a link that leads nowhere":   link(nil),
		"a pipe":                      func(path string) error { return unix.Mkfifo(path, 0o644) },
		"a folder":                    func(path string) error { return os.Mkdir(path, 0o755) },
	} {
		t.Run(name, func(t *testing.T) {
			dir, data := t.TempDir(), t.TempDir()
			path := filepath.Join(dir, "file")
			theirs(t, path, make)
			look := func() (all []string) {
				filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
					octets := []byte{}
					if err == nil && info.Mode().IsRegular() {
						octets, err = os.ReadFile(path)
					}
					if path != dir {
						all = append(all, fmt.Sprintf("%s %v %q", path, info.Mode(), octets))
					}
					return err
				})
				return all
			}
			before := look()
			refused := func(what string, err error) {
				t.Helper()
				if !errors.Is(err, storage.ErrForeign) && !errors.Is(err, storage.ErrLost) && !errors.Is(err, storage.ErrNotEmpty) {
					t.Errorf("%s: %v", what, err)
				}
			}
			o := Options{Path: path}
			_, err := Secure(path)
			refused("secure", err)
			_, err = Open(background, data, Options{Path: path, Server: true})
			refused("a server", err)
			_, err = Open(background, data, o)
			refused("a command", err)
			_, err = Rebuild(background, data, o, func(storage.Finding) {})
			refused("rebuild", err)
			backup, err := os.Create(filepath.Join(t.TempDir(), "b"))
			if err != nil {
				t.Fatal(err)
			}
			defer backup.Close()
			refused("restore", Restore(background, data, o, backup, quiet, func(storage.Finding) {}))
			if after := look(); !slices.Equal(before, after) {
				t.Errorf("there is now\n%s\nwhere there was\n%s", strings.Join(after, "\n"), strings.Join(before, "\n"))
			}
			if made, _ := os.ReadDir(data); len(made) > 0 {
				t.Errorf("made in the data directory: %v", made)
			}
		})
	}
	// A link to a store is how an administrator may lay it elsewhere.
	h := newHouse(t, Options{})
	h.must(h.deliver("m", "xxx"))
	h.must(h.Close())
	h.Store = nil
	path := filepath.Join(t.TempDir(), "linked")
	h.must(os.Symlink(filepath.Join(h.dir, "mailsrv.db"), path))
	s, err := Open(background, h.dir, Options{Path: path})
	h.must(err)
	h.must(s.Close())
}
