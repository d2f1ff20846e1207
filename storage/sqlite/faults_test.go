package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
	"mailsrv/storage"
	"mailsrv/storage/sqlite/db"
	"mailsrv/storage/sqlite/tables"
)

var (
	background = context.Background()
)

// house is a store with the mailbox look@me.com.
type house struct {
	*Store
	t    *testing.T
	dir  string
	look mail.MailboxID
}

func newHouse(t *testing.T, o Options) *house {
	t.Helper()
	h := &house{t: t, dir: t.TempDir()}
	h.open(o)
	h.must(h.SkipFolders())
	t.Cleanup(func() {
		if h.Store != nil {
			h.Close()
		}
	})
	h.must(h.AddDomain(background, directory.Domain{Name: "me.com"}))
	id, err := h.AddMailbox(background, directory.Mailbox{Address: mail.Address{Local: "look", Domain: "me.com"}, Switches: directory.AllOn})
	h.must(err)
	h.look = id
	return h
}

func (h *house) open(o Options) {
	h.t.Helper()
	s, err := Open(background, h.dir, o)
	h.must(err)
	h.Store = s
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) deliver(id, content string) error {
	b, err := h.NewBody(background, int64(len(content)))
	if err != nil {
		return err
	}
	defer b.Discard()
	if _, err := b.Write([]byte(content)); err != nil {
		return err
	}
	_, err = h.Deliver(background, &storage.Delivery{ID: id, Body: b, To: []storage.Recipient{{Mailbox: h.look}}})
	return err
}

func (h *house) entries() (storage.Maildrop, []storage.Entry) {
	h.t.Helper()
	d, err := h.OpenMaildrop(background, h.look)
	h.must(err)
	e, err := storage.AllEntries(background, d)
	h.must(err)
	return d, e
}

// tamper runs a statement behind the store's back.
func (h *house) tamper(statement string) {
	h.t.Helper()
	c, err := db.Open(h.path, 100)
	h.must(err)
	defer c.Close()
	h.must(c.Script("PRAGMA foreign_keys = OFF"))
	_, _, err = tables.Compact(c, 0, maxArrivals)
	h.must(err)
	h.must(c.Script(statement))
}

func (h *house) findings(repair bool) (found []string, remaining int) {
	h.t.Helper()
	remaining, err := h.Check(background, repair, func(f storage.Finding) { found = append(found, f.String()) })
	h.must(err)
	return found, remaining
}

// Every kind of drift is found, and what can be mended is.
func TestCheckFindsAndMends(t *testing.T) {
	cases := map[string]struct {
		tamper string
		find   string
		stays  bool
	}{
		"octets":          {"UPDATE tally SET octets = octets + 1", "counts", false},
		"messages":        {"UPDATE tally SET messages = 0", "counts", false},
		"total octets":    {"UPDATE tally SET all_octets = all_octets + 1", "of all folders", false},
		"total messages":  {"UPDATE tally SET all_messages = 0", "of all folders", false},
		"total elsewhere": {"INSERT INTO folder VALUES (77, 1, 'x', 1, 0); INSERT INTO tally (folder, all_octets) VALUES (77, 5)", "maildrop look@me.com, folder x counts 5 octets", false},
		"other folder":    {"INSERT INTO folder VALUES (77, 1, 'x', 1, 0); INSERT INTO tally (folder) VALUES (77); UPDATE entry SET id = 77 << 32 | 1 WHERE uid = 1", "maildrop look@me.com, folder x counts 0", false},
		"uid":             {"UPDATE tally SET last = 1", "gave uid 1, holds 3", false},
		"uid 0":           {"UPDATE entry SET id = folder << 32 WHERE uid = 1", "uid 0", false},
		"last uid":        {"UPDATE tally SET last = (1 << 32) - 1", "has given its last uid", true},
		"modseq":          {"UPDATE tally SET modseq = 2", "counts modseq 2, has 6", false},
		"entry's modseq":  {"UPDATE entry SET modseq = 0 WHERE uid = 1", "has modseq 0", false},
		"expunged":        {"UPDATE tally SET expunged = 9", "counts modseq 6, has 9", false},
		"validity":        {"UPDATE folder SET validity = 0", "no validity", false},
		"late validity":   {"UPDATE store SET validity = 1", "the last one given is 1", false},
		"no numbers":      {"DELETE FROM store", "numbers of the store", false},
		"size":            {"UPDATE entry SET octets = octets + 5 WHERE uid = 1", "its size is", false},
		"body removed":    {"DELETE FROM body WHERE id = 1", "its body is missing", false},
		"no counters":     {"DELETE FROM tally", "has no counters", false},
		"stray counters":  {"INSERT INTO tally (folder) VALUES (77)", "does not exist", false},
		"no INBOX":        {"DELETE FROM folder", "mailbox look@me.com has no INBOX", false},
		"wrong INBOX":     {"UPDATE mailbox SET inbox = 77", "mailbox look@me.com has no INBOX", false},
		"stray folder":    {"INSERT INTO folder VALUES (77, 99, 'INBOX', 1, 0)", "has no mailbox", false},
		"stray entry":     {"UPDATE entry SET id = 99 << 32 | uid WHERE uid = 1", "the folder does not exist", false},
		"needed orphan":   {"INSERT INTO orphan SELECT id, 1 FROM folder", "waits to be emptied but is needed", false},
		"stray body":      {"INSERT INTO body (octets, chunks, crc, prefix, trace, data) VALUES (0, 0, 0, '', 0, x'')", "belongs to no message", false},
		"trace":           {"UPDATE body SET trace = 99", "trace fields begin at 99", false},
		"stray chunk":     {"INSERT INTO chunk (id, crc, data) VALUES (99 << 16, 0, x'')", "belongs to no body", false},
		"needed garbage":  {"INSERT INTO garbage (body, octets) VALUES (1, 0)", "is needed", false},
		"share count":     {"INSERT INTO share (body, refs) VALUES (1, 5)", "counts 5 entries", false},
		"share missing":   {"UPDATE entry SET shared = 1 WHERE uid = 1", "is not counted", false},
		"content":         {"UPDATE body SET data = CAST('y' || substr(data, 2) AS BLOB) WHERE id = 1", "is damaged (look@me.com m0)", true},
		"content length":  {"UPDATE body SET octets = octets + 1 WHERE id = 1; UPDATE entry SET octets = octets + 1 WHERE body = 1; UPDATE tally SET octets = octets + 1, all_octets = all_octets + 1", "is damaged", true},
		"chunk content":   {"UPDATE chunk SET data = CAST('y' || substr(data, 2) AS BLOB)", "is damaged (look@me.com long)", true},
		"chunk missing":   {"DELETE FROM chunk WHERE id & 65535 = 1", "is damaged (look@me.com long)", true},
		"same UIDL":       {"UPDATE entry SET uidl = 'm0'", "3 times", true},
		"aside octets":    {"UPDATE kept SET octets = octets + 1 WHERE mailbox = 1", "mailbox look@me.com counts 4 octets in 1 messages kept aside, has 3 in 1", false},
		"aside messages":  {"UPDATE kept SET messages = 0 WHERE mailbox = 1", "kept aside, has 3 in 1", false},
		"aside total":     {"UPDATE kept SET octets = 0 WHERE mailbox = 0", "all mailboxes count 0 octets", false},
		"aside uncounted": {"DELETE FROM kept", "kept aside, has 3 in 1", false},
		"aside counted":   {"DELETE FROM removed", "kept aside, has 0 in 0", false},
		"aside stray":     {"UPDATE removed SET mailbox = 99", "keeps aside is nobody's", false},
		"alias target":    {"INSERT INTO alias (id, domain, local) VALUES (1, 1, 'a'); INSERT INTO target (alias, local, domain) VALUES (1, 'no', 'me.com')", "does not exist", true},
		"mailbox + alias": {"INSERT INTO alias (id, domain, local) VALUES (1, 1, 'look')", "both a mailbox and an alias", true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, Options{Exclusive: true})
			h.must(h.deliver("m0", "xxx"))
			h.must(h.deliver("m1", "xxx"))
			h.must(h.deliver("long", strings.Repeat("x", 600<<10)))
			h.keepDeletedFor(24 * time.Hour)
			h.must(h.deliver("aside", "xxx"))
			d, e := h.entries()
			_, err := d.Update(background, nil, storage.Change{Expunge: storage.UIDs(e[3:])})
			h.must(err)
			if found, n := h.findings(false); n > 0 {
				t.Fatalf("before: %q", found)
			}
			h.tamper(c.tamper)
			found, n := h.findings(false)
			if n == 0 || !strings.Contains(strings.Join(found, "\n"), c.find) {
				t.Fatalf("found %d: %q, want %q", n, found, c.find)
			}
			found, n = h.findings(true)
			if c.stays != (n > 0) {
				t.Fatalf("%d remain: %q", n, found)
			}
			if again, n := h.findings(false); c.stays != (n > 0) {
				t.Fatalf("%d remain after: %q", n, again)
			}
		})
	}
}

// Who shows a finding may wait for a person: the log can begin anew meanwhile.
func TestFindingsAreToldOutsideTheTransaction(t *testing.T) {
	h := newHouse(t, Options{})
	h.must(h.deliver("m", "text"))
	h.tamper("UPDATE tally SET octets = 77, all_octets = 78")
	told := 0
	_, err := h.Check(background, false, func(storage.Finding) {
		told++
		c, err := db.Open(h.path, 100)
		h.must(err)
		defer c.Close()
		h.must(c.Script("PRAGMA busy_timeout = 0; INSERT INTO domain (name, created) SELECT max(id), 0 FROM domain"))
		h.must(c.Each("PRAGMA wal_checkpoint=RESTART", func(row []driver.Value) error {
			if row[0] != int64(0) {
				t.Error("a reading transaction is open")
			}
			return nil
		}))
	})
	if h.must(err); told != 2 {
		t.Errorf("%d findings were told", told)
	}
}

func TestRepairNeedsTheStoreToItself(t *testing.T) {
	h := newHouse(t, Options{})
	if _, err := h.Check(background, true, func(storage.Finding) {}); err == nil {
		t.Error("a repair without the lock was begun")
	}
}

// A damaged body is refused before a single octet of it is given.
func TestDamagedMessage(t *testing.T) {
	h := newHouse(t, Options{})
	h.must(h.deliver("small", "xxx"))
	h.must(h.deliver("long", strings.Repeat("x", 600<<10)))
	h.tamper("UPDATE body SET data = x'7a7a7a' WHERE id = 1; UPDATE chunk SET data = x'7a' WHERE id & 65535 = 1")
	d, e := h.entries()
	if _, err := d.Message(background, e[0], 0); !errors.Is(err, storage.ErrDamaged) {
		t.Errorf("small: %v", err)
	}
	m, err := d.Message(background, e[1], 0)
	h.must(err)
	defer m.Close()
	octets := 0
	for err == nil {
		var piece []byte
		piece, err = m.Next(background)
		octets += len(piece)
	}
	if !errors.Is(err, storage.ErrDamaged) || octets != 256<<10 {
		t.Errorf("long: %v after %d octets", err, octets)
	}
}

func TestOneServerPerDirectory(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	for _, o := range []Options{{Server: true}, {Exclusive: true}} {
		if _, err := Open(background, h.dir, o); !errors.Is(err, storage.ErrLocked) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	h.must(h.Close())
	h.open(Options{Server: true})
}

// Two data directories that name one database are one store.
func TestOneServerPerDatabase(t *testing.T) {
	shared := filepath.Join(t.TempDir(), "mail.db")
	first, err := Open(background, t.TempDir(), Options{Server: true, Path: shared})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(background, t.TempDir(), Options{Server: true, Path: shared}); !errors.Is(err, storage.ErrLocked) {
		t.Errorf("got %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := Open(background, t.TempDir(), Options{Server: true, Path: shared})
	if err != nil {
		t.Fatal(err)
	}
	second.Close()
}

func TestForeignDatabaseIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	c, err := db.Open(filepath.Join(dir, "mailsrv.db"), 100)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Script("CREATE TABLE theirs (x INTEGER)"); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if _, err := Open(background, dir, Options{}); err == nil || !strings.Contains(err.Error(), "another program's") {
		t.Fatalf("got %v", err)
	}
}

func TestFilesArePrivate(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "data")
	s, err := Open(background, dir, Options{Server: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	want := map[string]os.FileMode{".": 0o700, "mailsrv.db": 0o600, "mailsrv.db-wal": 0o600, "mailsrv.db-shm": 0o600, "lock": 0o600}
	for name, mode := range want {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v; want %v", name, info.Mode(), err, mode)
		}
	}
}

// A command line that holds the database does not lose a delivery, it delays
// it; one that holds it for a client's whole patience makes it come again.
func TestBusyDatabase(t *testing.T) {
	h := newHouse(t, Options{})
	other, err := db.Open(h.path, 100)
	h.must(err)
	defer other.Close()
	h.must(other.Script("BEGIN IMMEDIATE"))
	done := make(chan error, 1)
	go func() { done <- h.deliver("waits", "x") }()
	ctx, cancel := context.WithTimeout(background, 50*time.Millisecond)
	defer cancel()
	err = h.AddDomain(ctx, directory.Domain{Name: "late.example"})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a change whose context ended: %v", err)
	}
	h.must(other.Script("COMMIT"))
	h.must(<-done)
	if _, e := h.entries(); len(e) != 1 {
		t.Errorf("%d messages", len(e))
	}
	if _, err := h.Domain(background, "late.example"); !errors.Is(err, directory.ErrNotFound) {
		t.Errorf("what was withdrawn was committed: %v", err)
	}
}

// Freed pages are used again, and what was staged is swept at the next start.
func TestCollecting(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	for i := range 200 {
		h.must(h.deliver(fmt.Sprint("m", i), strings.Repeat("x", 3000)))
	}
	h.must(h.deliver("long", strings.Repeat("x", 3<<20)))
	d, e := h.entries()
	_, err := d.Update(background, nil, storage.Change{Expunge: storage.UIDs(e)})
	h.must(err)
	h.wait("garbage to go", func() bool { return h.count("SELECT count(*) FROM body") == 0 })
	if n := h.count("SELECT count(*) FROM chunk") + h.count("SELECT count(*) FROM garbage"); n != 0 {
		t.Errorf("%d rows are left", n)
	}
	if free := h.count("PRAGMA freelist_count"); free*db.PageSize < 3<<20 {
		t.Errorf("%d free pages", free)
	}

	b, err := h.NewBody(background, 0)
	h.must(err)
	_, err = b.Write(make([]byte, 600<<10))
	h.must(err)
	if n := h.count("SELECT count(*) FROM transfer"); n != 1 || h.staging.octets() != 512<<10 {
		t.Errorf("%d transfers, %d octets staged", n, h.staging.octets())
	}
	h.must(h.Close()) // as a crash would: nobody discards the body
	h.open(Options{Server: true})
	h.wait("the transfer to be swept", func() bool {
		return h.count("SELECT count(*) FROM transfer")+h.count("SELECT count(*) FROM body")+h.count("SELECT count(*) FROM chunk") == 0
	})
}

// What the command line deletes is freed by the server that runs.
func TestCollectingAfterTheCommandLine(t *testing.T) {
	h := newHouse(t, Options{Server: true, lookEvery: 20 * time.Millisecond})
	h.must(h.deliver("m", "xxx"))
	line := &house{t: t, dir: h.dir, look: h.look}
	line.open(Options{})
	d, e := line.entries()
	_, err := d.Update(background, nil, storage.Change{Expunge: storage.UIDs(e)})
	h.must(err)
	h.must(line.Close())
	h.wait("the body to go", func() bool { return h.count("SELECT count(*) FROM body") == 0 })
}

func TestStagedTotal(t *testing.T) {
	h := newHouse(t, Options{MaxStaged: 1 << 20})
	b, err := h.NewBody(background, 0)
	h.must(err)
	if _, err = b.Write(make([]byte, 3<<20)); !errors.Is(err, storage.ErrStagedFull) {
		t.Fatalf("got %v", err)
	}
	b.Discard()
	h.must(h.deliver("fits", strings.Repeat("x", 1<<20)))
	if n := h.staging.octets(); n != 0 {
		t.Errorf("%d octets staged by nobody", n)
	}
}

func TestSpace(t *testing.T) {
	h := newHouse(t, Options{Server: true, MinFree: 1 << 62})
	if err := h.Accepting(); !errors.Is(err, storage.ErrNoSpace) {
		t.Errorf("got %v", err)
	}
}

func (h *house) count(query string, args ...driver.Value) (n int64) {
	h.t.Helper()
	h.must(h.readers.Use(background, func(c *db.Conn) (err error) { n, err = c.Number(query, args...); return err }))
	return n
}

func (h *house) wait(what string, until func() bool) {
	h.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !until(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			h.t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestFolderIDsAreUsedUp(t *testing.T) {
	h := newHouse(t, Options{})
	h.tamper("UPDATE sqlite_sequence SET seq = (1 << 31) - 2 WHERE name = 'folder'")
	add := func(local string) error {
		_, err := h.AddMailbox(background, directory.Mailbox{Address: mail.Address{Local: local, Domain: "me.com"}})
		return err
	}
	h.must(add("last"))
	if err := add("none"); err == nil || !strings.HasPrefix(err.Error(), "the store has given each of its 2147483647 folder ids") {
		t.Error(err)
	}
}
