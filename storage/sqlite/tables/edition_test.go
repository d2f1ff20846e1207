package tables

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"mailsrv/storage"
	"mailsrv/storage/sqlite/db"
)

// madeUp is the first schema of a store that never was.
const madeUp = "CREATE TABLE store (least INTEGER); INSERT INTO store VALUES (1); CREATE TABLE one (a INTEGER)"

const addTwo = "CREATE TABLE two (b INTEGER)"

func TestMigrations(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.db")
	open := func() *db.Conn {
		c, err := db.Open(path, 100)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	numbers := func(schema, least int64) {
		t.Helper()
		row, err := open().First("SELECT user_version, least FROM pragma_user_version, store")
		if err != nil || row[0] != schema || row[1] != least {
			t.Fatalf("schema and least %v, %v; want %d, %d", row, err, schema, least)
		}
	}
	asked := int64(0)
	before := func(v int64) error { asked = v; return nil }
	first := Edition{Schema: madeUp}
	if schema, err := first.Migrate(open(), before); err != nil || schema != 1 || asked != 0 {
		t.Fatal(schema, err, asked)
	}
	numbers(1, 1)
	second := Edition{madeUp + ";" + addTwo, []Migration{{addTwo, 0}}}
	if _, err := second.Migrate(open(), func(int64) error { return errors.New("a server is running") }); err == nil {
		t.Fatal("an upgrade went on against before")
	}
	numbers(1, 1)
	broken := Edition{"", []Migration{{addTwo + ";" + madeUp, 2}}}
	if _, err := broken.Migrate(open(), before); err == nil || !strings.Contains(err.Error(), "upgrade from schema 1 to 2") {
		t.Fatalf("a broken step: %v", err)
	}
	numbers(1, 1)
	if schema, err := second.Migrate(open(), before); err != nil || schema != 2 || asked != 1 {
		t.Fatal(schema, err, asked)
	}
	numbers(2, 1)
	if _, err := open().Number("SELECT b FROM two"); err != nil {
		t.Fatal(err)
	}
	// The first may still write, until a step that it must not miss.
	if schema, err := first.Migrate(open(), before); err != nil || schema != 2 {
		t.Fatalf("an older program beside a newer: schema %d, %v", schema, err)
	}
	third := Edition{"", append(second.Migrations, Migration{"CREATE TABLE three (c INTEGER)", 3})}
	if schema, err := third.Migrate(open(), before); err != nil || schema != 3 {
		t.Fatal(schema, err)
	}
	numbers(3, 3)
	fourth := Edition{"", append(third.Migrations, Migration{"CREATE TABLE four (d INTEGER)", 0})}
	if schema, err := fourth.Migrate(open(), before); err != nil || schema != 4 {
		t.Fatal(schema, err)
	}
	numbers(4, 3)
	if schema, err := third.Migrate(open(), before); err != nil || schema != 4 {
		t.Fatalf("the least that may write: schema %d, %v", schema, err)
	}
	if _, err := second.Migrate(open(), before); !errors.Is(err, storage.ErrNewer) || !strings.Contains(err.Error(), "(schema 4, known up to 2)") {
		t.Fatalf("one below: %v", err)
	}
}

// A new database of a later edition holds the numbers of an upgraded one.
func TestNewDatabaseHasBothNumbers(t *testing.T) {
	c, err := db.Open(filepath.Join(t.TempDir(), "m.db"), 100)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	e := Edition{madeUp + ";" + addTwo, []Migration{{addTwo, 2}, {"CREATE TABLE three (c INTEGER)", 0}}}
	if _, err := e.Migrate(c, nil); err != nil {
		t.Fatal(err)
	}
	row, err := c.First("SELECT user_version, least, application_id FROM pragma_user_version, store, pragma_application_id")
	if err != nil || fmt.Sprint(row) != fmt.Sprint([]any{3, 2, ApplicationID}) {
		t.Fatal(row, err)
	}
}
