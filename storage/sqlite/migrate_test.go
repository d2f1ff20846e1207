package sqlite

import (
	"database/sql/driver"
	_ "embed"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailsrv/internal/logs"
	"mailsrv/internal/mail"
)

//go:embed testdata/schema-1.sql
var firstSchema string

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
	const first = "CREATE TABLE one (a INTEGER); CREATE TABLE two (b INTEGER)"
	steps := []string{"CREATE TABLE two (b INTEGER)"}
	version := func(want int64) {
		t.Helper()
		if got, err := open().number("PRAGMA user_version"); got != want || err != nil {
			t.Fatalf("version %d, %v; want %d", got, err, want)
		}
	}
	if err := migrate(open(), "CREATE TABLE one (a INTEGER)", nil, nil); err != nil {
		t.Fatal(err)
	}
	version(1)
	asked := int64(0)
	before := func(v int64) error { asked = v; return nil }
	if err := migrate(open(), first, steps, func(int64) error { return errors.New("no backup") }); err == nil {
		t.Fatal("an upgrade went on without its backup")
	}
	version(1)
	broken := []string{"CREATE TABLE two (b INTEGER); CREATE TABLE one (a INTEGER)"}
	if err := migrate(open(), first, broken, before); err == nil || !strings.Contains(err.Error(), "upgrade from schema 1 to 2") {
		t.Fatalf("a broken step: %v", err)
	}
	version(1)
	if err := migrate(open(), first, steps, before); err != nil {
		t.Fatal(err)
	}
	version(2)
	if asked != 1 {
		t.Errorf("asked before the upgrade of version %d", asked)
	}
	if _, err := open().number("SELECT b FROM two"); err != nil {
		t.Fatal(err)
	}
	if err := migrate(open(), first, nil, before); !errors.Is(err, ErrNewer) {
		t.Fatalf("a newer schema: %v", err)
	}
}

// firstStore makes a data directory as the first schema's release left it: two
// mailboxes whose messages came in turn, the second's first deleted since.
func firstStore(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	c, err := openConn(filepath.Join(dir, "mailsrv.db"), 100)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := migrate(c, firstSchema, nil, nil); err != nil {
		t.Fatal(err)
	}
	run := func(query string, args ...driver.Value) {
		t.Helper()
		if _, _, err := c.exec(query, args...); err != nil {
			t.Fatal(err)
		}
	}
	run("INSERT INTO domain (id, name, created) VALUES (1, 'me.com', 0)")
	for id, local := range []string{"", "look", "other"} {
		if id > 0 {
			run("INSERT INTO mailbox (id, domain, local, enabled, hash, created) VALUES (?, 1, ?, 1, '', 0)", int64(id), local)
		}
	}
	const prefix, content = "Return-Path: <a@example.org>\r\n", "Subject: old\r\n\r\nIt was here.\r\n"
	octets := int64(len(prefix) + len(content))
	for n := int64(1); n <= 7; n++ {
		maildrop, sequence, retrieved := 1+n%2, 1+n/2, driver.Value(nil)
		if n == 1 {
			continue // of the second, deleted
		}
		if n == 4 {
			retrieved = int64(1700000000)
		}
		run("INSERT INTO body (id, octets, chunks, crc, prefix, data) VALUES (?, ?, 0, ?, ?, ?)",
			n, int64(len(content)), int64(crc32.Checksum([]byte(prefix+content), castagnoli)), prefix, []byte(content))
		run("INSERT INTO entry (maildrop, sequence, octets, body, shared, uidl, own, retrieved) VALUES (?, ?, ?, ?, 0, ?, '', ?)",
			maildrop, sequence, octets, n, fmt.Sprint("old", n), retrieved)
	}
	run("INSERT INTO maildrop (id, octets, messages, last) SELECT maildrop, sum(octets), count(*), max(sequence) FROM entry GROUP BY maildrop")
	return dir
}

// A store of the first release keeps every message, UIDL, counter and mark.
func TestUpgradeFromTheFirstSchema(t *testing.T) {
	h := &house{t: t, dir: firstStore(t)}
	older, err := lockStore(h.dir, filepath.Join(h.dir, "mailsrv.db"))
	h.must(err)
	if _, err := Open(background, h.dir, Options{}); !errors.Is(err, ErrLocked) {
		t.Errorf("a command beside an older server: %v", err)
	}
	older.release()
	h.open(Options{Server: true})
	defer h.Close()
	if found, _ := h.findings(false); len(found) > 0 {
		t.Errorf("findings: %q", found)
	}
	for id, want := range map[mail.MailboxID]string{1: "[2 old2 3 old4 4 old6]", 2: "[2 old3 3 old5 4 old7]"} {
		h.look = id
		_, entries := h.entries()
		var got []any
		for _, e := range entries {
			got = append(got, e.Sequence, e.UIDL)
		}
		if fmt.Sprint(got) != want {
			t.Errorf("maildrop %d: %v, want %s", id, got, want)
		}
		for uidl, err := range h.readAll() {
			if err != io.EOF {
				t.Errorf("%s: %v", uidl, err)
			}
		}
	}
	if n := h.count("SELECT count(*) FROM entry WHERE uidl = 'old4' AND retrieved = 1700000000"); n != 1 {
		t.Errorf("%d marked as retrieved", n)
	}
	h.must(h.deliver("new", "after it"))
	if _, err := os.Stat(filepath.Join(h.dir, "mailsrv.db.schema-1")); err != nil {
		t.Error("the backup from before:", err)
	}
}

// What a broken-off backup left must not pass for one.
func TestUpgradeAfterABrokenBackup(t *testing.T) {
	dir := firstStore(t)
	file := filepath.Join(dir, "mailsrv.db.schema-1")
	for _, left := range []string{file + ".new", file + ".new" + partial} {
		if err := os.WriteFile(left, []byte("half a copy"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open(background, dir, Options{Server: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if files, _ := filepath.Glob(file + "*"); len(files) != 1 || files[0] != file {
		t.Errorf("left: %v", files)
	}
	if err := restore(t, t.TempDir(), file); err != nil {
		t.Error("the backup from before:", err)
	}
}

// Of each state that was to be upgraded there is one backup: an upgrade that fails
// again and again does not fill the disk, and none takes an older state for its own.
func TestUpgradeMakesABackup(t *testing.T) {
	var log logs.Recorder
	h := newHouse(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	c, err := openConn(h.path, 100)
	h.must(err)
	defer c.Close()
	first := h.path + ".schema-1"
	for i, file := range []string{first, first + ".2", first + ".3"} {
		messages := i + 1
		h.must(h.deliver(fmt.Sprint("m", messages), "xxx"))
		for try := range 2 {
			h.must(h.beforeUpgrade(c)(1))
			if files, _ := filepath.Glob(first + "*"); len(files) != messages {
				t.Errorf("%d messages, try %d: %v", messages, try, files)
			}
		}
		if n := strings.Count(log.String(), "file="+file+"\n"); n != 2 {
			t.Errorf("%s is in the log %d times", file, n)
		}
		restored := &house{t: t, dir: filepath.Join(t.TempDir(), "data"), look: h.look}
		h.must(restore(t, restored.dir, file))
		restored.open(Options{})
		if _, e := restored.entries(); len(e) != messages {
			t.Errorf("%s holds %d messages, want %d", file, len(e), messages)
		}
		restored.Close()
	}
}

func TestFailedUpgradesLeaveOneBackup(t *testing.T) {
	h := &house{t: t, dir: firstStore(t)}
	path := filepath.Join(h.dir, "mailsrv.db")
	c, err := openConn(path, 100)
	h.must(err)
	h.must(c.script("CREATE TABLE new_entry (id INTEGER)"))
	h.must(c.Close())
	for range 3 {
		if _, err := Open(background, h.dir, Options{Server: true}); err == nil || !strings.Contains(err.Error(), "upgrade from schema 1 to 2") {
			t.Fatalf("got %v", err)
		}
	}
	if files, _ := filepath.Glob(path + ".*"); len(files) != 1 || files[0] != path+".schema-1" {
		t.Errorf("left: %v", files)
	}
}

// An upgraded database has the tables and indexes of a new one.
func TestUpgradeLeadsToTheSchema(t *testing.T) {
	shape := func(dir string) (all []string) {
		s, err := Open(background, dir, Options{NoBackup: true})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		c := s.writer.conn
		err = c.each(`SELECT m.type, m.name, x.name, x.type, x."notnull", x.dflt_value, x.pk, x.hidden FROM sqlite_schema m, pragma_table_xinfo(m.name) x
UNION ALL SELECT m.type, m.name, x.name, x.seqno, x.desc, x.coll, x.key, 0 FROM sqlite_schema m, pragma_index_xinfo(m.name) x WHERE m.type = 'index'
ORDER BY 1, 2, 3`, func(row []driver.Value) error {
			all = append(all, fmt.Sprint(row))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	want, got := shape(t.TempDir()), shape(firstStore(t))
	if len(want) < 60 || !slices.Equal(got, want) {
		t.Errorf("upgraded:\n%s\nnew:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
