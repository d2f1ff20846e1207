package main

import (
	"database/sql"
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

// files are the database, and what stands beside it under its name.
func (h *house) files() string {
	all, _ := filepath.Glob(h.database() + "*")
	for i := range all {
		all[i] = filepath.Base(all[i])
	}
	return strings.Join(all, " ")
}

// A store of a build before the first release is refused, and told from a newer one.
func TestEarlyStoreIsRefused(t *testing.T) {
	h := newHouse(t)
	h.do("", "domain", "add", "me.com")
	h.sql("PRAGMA application_id = 0x6d61696c; PRAGMA user_version = 2")
	const line = "the database was written by a build before the first release, which nothing upgrades: move it elsewhere, or choose another data_dir"
	for _, command := range []string{"domain list", "check", "check --repair", "backup " + filepath.Join(t.TempDir(), "b"), "serve"} {
		h.refused(line, strings.Fields(command)...)
	}
	other := newHouse(t)
	if err := os.Mkdir(other.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	other.refused(line, "restore", h.database())
}

func TestNewerSchemaIsRefused(t *testing.T) {
	h := newHouse(t)
	h.do("", "domain", "add", "me.com")
	h.sql("PRAGMA user_version = 99; UPDATE store SET least = 2")
	const line = "the database was written by a newer mailsrv (schema 99, known up to 1): install that version, or restore a backup made by this one (data directory "
	file := filepath.Join(t.TempDir(), "b")
	for _, command := range []string{"domain list", "check", "check --repair", "backup " + file, "serve"} {
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
