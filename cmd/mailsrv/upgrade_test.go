package main

import (
	"database/sql"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func (h *house) database() string { return filepath.Join(h.dir, "mailsrv.db") }

// sql runs statements on the database, behind the program's back.
func (h *house) sql(statements string) {
	h.t.Helper()
	db, err := sql.Open("sqlite3", h.database())
	if err != nil {
		h.t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(statements); err != nil {
		h.t.Fatal(err)
	}
}

// schema is the number of a database's schema.
func schema(t *testing.T, file string) (version int) {
	t.Helper()
	db, err := sql.Open("sqlite3", file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		t.Fatal(err)
	}
	return version
}

// newOldHouse is a data directory of the first schema's release.
func newOldHouse(t *testing.T) *house {
	t.Helper()
	h := newHouse(t)
	first, err := os.ReadFile("../../storage/sqlite/testdata/schema-1.sql")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(h.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	h.sql("PRAGMA page_size = 8192; PRAGMA application_id = 0x6d61696c; PRAGMA user_version = 1; " + string(first) +
		"; INSERT INTO domain (id, name, created) VALUES (1, 'me.com', 0)")
	if err := os.Chmod(h.database(), 0o600); err != nil {
		t.Fatal(err)
	}
	return h
}

// files are the database, and what stands beside it under its name.
func (h *house) files() string {
	all, _ := filepath.Glob(h.database() + "*")
	for i := range all {
		all[i] = filepath.Base(all[i])
	}
	return strings.Join(all, " ")
}

func TestUpgradeKeepsACopy(t *testing.T) {
	h := newOldHouse(t)
	file := filepath.Join(t.TempDir(), "b")
	h.do("", "backup", file)
	if schema(t, file) != 1 || schema(t, h.database()) != 1 || h.files() != "mailsrv.db" {
		t.Errorf("a backup of what an older version wrote: schema %d of schema %d, %s", schema(t, file), schema(t, h.database()), h.files())
	}
	r := h.serve()
	if copied := h.database() + ".schema-1"; !r.logged("a backup from before is kept", copied) || schema(t, copied) != 1 {
		t.Error("no copy from before")
	}
	r.stop()
	if schema(t, h.database()) != 2 {
		t.Error("not upgraded")
	}
	for _, file := range []string{file, h.database() + ".schema-1"} {
		other := newHouse(t)
		other.do("", "restore", file)
		if got := other.do("", "domain", "list"); !strings.Contains(got, "me.com") {
			t.Errorf("restored from %s: %q", file, got)
		}
	}
}

// From 1 GiB on the administrator makes the backup.
func TestUpgradeOfALargeStore(t *testing.T) {
	h := newOldHouse(t)
	const octets, pageSize = 1 << 30, 8192 // of which most are never written
	f, err := os.OpenFile(h.database(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(binary.BigEndian.AppendUint32(nil, octets/pageSize), 28); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(octets); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"domain list", "check", "serve"} {
		h.refused("the store has schema 1 and must be upgraded: make a backup with mailsrv backup FILE, then start the server once with mailsrv serve --no-backup",
			strings.Fields(command)...)
	}
	if schema(t, h.database()) != 1 {
		t.Error("upgraded without a backup")
	}
	r := h.serve("--no-backup")
	if !r.logged("upgraded without a backup") {
		t.Error("the log says nothing of the upgrade")
	}
	r.stop()
	if schema(t, h.database()) != 2 || h.files() != "mailsrv.db" {
		t.Errorf("schema %d, %s", schema(t, h.database()), h.files())
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	h := newHouse(t)
	h.do("", "domain", "add", "me.com")
	h.sql("PRAGMA user_version = 99")
	const line = "the database was written by a newer mailsrv: install that version, or restore a backup made by this one (schema 99, known up to 2) (data directory "
	file := filepath.Join(t.TempDir(), "b")
	for _, command := range []string{"domain list", "check", "check --repair", "backup " + file, "serve", "serve --no-backup"} {
		h.refused(line, strings.Fields(command)...)
	}
	other := newHouse(t)
	if err := os.Mkdir(other.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	other.refused(line, "restore", h.database())
	if schema(t, h.database()) != 99 {
		t.Error("it was changed")
	}
}
