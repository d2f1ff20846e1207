package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailsrv/storage"
)

// madeUp is the first schema of a store that never was.
const madeUp = "CREATE TABLE store (least INTEGER); INSERT INTO store VALUES (1); CREATE TABLE one (a INTEGER)"

const addTwo = "CREATE TABLE two (b INTEGER)"

func TestMigrations(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.db")
	open := func() *conn {
		c, err := openConn(path, 100)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	numbers := func(schema, least int64) {
		t.Helper()
		row, err := open().first("SELECT user_version, least FROM pragma_user_version, store")
		if err != nil || row[0] != schema || row[1] != least {
			t.Fatalf("schema and least %v, %v; want %d, %d", row, err, schema, least)
		}
	}
	asked := int64(0)
	before := func(v int64) error { asked = v; return nil }
	first := edition{schema: madeUp}
	if schema, err := first.migrate(open(), before); err != nil || schema != 1 || asked != 0 {
		t.Fatal(schema, err, asked)
	}
	numbers(1, 1)
	second := edition{madeUp + ";" + addTwo, []migration{{addTwo, 0}}}
	if _, err := second.migrate(open(), func(int64) error { return errors.New("a server is running") }); err == nil {
		t.Fatal("an upgrade went on against before")
	}
	numbers(1, 1)
	broken := edition{"", []migration{{addTwo + ";" + madeUp, 2}}}
	if _, err := broken.migrate(open(), before); err == nil || !strings.Contains(err.Error(), "upgrade from schema 1 to 2") {
		t.Fatalf("a broken step: %v", err)
	}
	numbers(1, 1)
	if schema, err := second.migrate(open(), before); err != nil || schema != 2 || asked != 1 {
		t.Fatal(schema, err, asked)
	}
	numbers(2, 1)
	if _, err := open().number("SELECT b FROM two"); err != nil {
		t.Fatal(err)
	}
	// The first may still write, until a step that it must not miss.
	if schema, err := first.migrate(open(), before); err != nil || schema != 2 {
		t.Fatalf("an older program beside a newer: schema %d, %v", schema, err)
	}
	third := edition{"", append(second.migrations, migration{"CREATE TABLE three (c INTEGER)", 3})}
	if schema, err := third.migrate(open(), before); err != nil || schema != 3 {
		t.Fatal(schema, err)
	}
	numbers(3, 3)
	fourth := edition{"", append(third.migrations, migration{"CREATE TABLE four (d INTEGER)", 0})}
	if schema, err := fourth.migrate(open(), before); err != nil || schema != 4 {
		t.Fatal(schema, err)
	}
	numbers(4, 3)
	if schema, err := third.migrate(open(), before); err != nil || schema != 4 {
		t.Fatalf("the least that may write: schema %d, %v", schema, err)
	}
	if _, err := second.migrate(open(), before); !errors.Is(err, storage.ErrNewer) || !strings.Contains(err.Error(), "(schema 4, known up to 2)") {
		t.Fatalf("one below: %v", err)
	}
}

// A new database of a later edition holds the numbers of an upgraded one.
func TestNewDatabaseHasBothNumbers(t *testing.T) {
	c, err := openConn(filepath.Join(t.TempDir(), "m.db"), 100)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	e := edition{madeUp + ";" + addTwo, []migration{{addTwo, 2}, {"CREATE TABLE three (c INTEGER)", 0}}}
	if _, err := e.migrate(c, nil); err != nil {
		t.Fatal(err)
	}
	row, err := c.first("SELECT user_version, least, application_id FROM pragma_user_version, store, pragma_application_id")
	if err != nil || fmt.Sprint(row) != fmt.Sprint([]any{3, 2, applicationID}) {
		t.Fatal(row, err)
	}
}

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
	if _, err := h.Check(background, false, func(string) {}); !errors.Is(err, storage.ErrNewer) {
		t.Errorf("check: %v", err)
	}
	h.Close()
	if _, err := Rebuild(background, h.dir, Options{}, func(string) {}); !errors.Is(err, storage.ErrNewer) {
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
	older, err := lockStore(h.dir, h.path)
	h.must(err)
	if err := h.beforeUpgrade(1); !errors.Is(err, storage.ErrLocked) {
		t.Errorf("beside an older server: %v", err)
	}
	older.release()
	h.must(h.beforeUpgrade(1))
	if _, err := lockStore(h.dir, h.path); !errors.Is(err, storage.ErrLocked) {
		t.Errorf("an older server may begin: %v", err)
	}
	h.Close()
	h.Store = nil
	held, err := lockStore(h.dir, filepath.Join(h.dir, "mailsrv.db"))
	h.must(err)
	held.release()
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
			c, err := openConn(path, 100)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(c.script(test.script), c.Close()); err != nil {
				t.Fatal(err)
			}
			before, _ := os.ReadFile(path)
			if _, err := Open(background, dir, Options{}); !errors.Is(err, test.want) {
				t.Errorf("open: %v", err)
			}
			if _, err := Rebuild(background, dir, Options{}, func(string) {}); !errors.Is(err, test.want) {
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
