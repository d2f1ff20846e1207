package sqlite

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailsrv/internal/logs"
	"mailsrv/internal/mail"
	"mailsrv/quota"
	"mailsrv/storage"
	"mailsrv/storage/sqlite/db"
	"mailsrv/storage/sqlite/tables"
)

// damage overwrites the database where needle stands: only that, or all of the
// page. The store is closed meanwhile.
func (h *house) damage(needle string, wholePage bool) {
	h.t.Helper()
	h.must(h.Close())
	h.Store = nil
	file := filepath.Join(h.dir, "mailsrv.db")
	octets, err := os.ReadFile(file)
	h.must(err)
	at := bytes.Index(octets, []byte(needle))
	if at < 0 || bytes.Count(octets, []byte(needle)) != 1 {
		h.t.Fatalf("%q stands %d times in the database", needle, bytes.Count(octets, []byte(needle)))
	}
	length := len(needle)
	if wholePage {
		at, length = at/db.PageSize*db.PageSize, db.PageSize
	}
	clear(octets[at : at+length])
	h.must(os.WriteFile(file, octets, 0o600))
}

// readAll returns the error of reading each message to its end, by UIDL.
func (h *house) readAll() map[string]error {
	h.t.Helper()
	drop, entries := h.entries()
	failed := map[string]error{}
	for _, e := range entries {
		failed[e.UIDL] = readThrough(drop, e)
	}
	return failed
}

// readThrough reads a message to its end: io.EOF, or an earlier error.
func readThrough(drop storage.Maildrop, e storage.Entry) error {
	m, err := drop.Message(background, e, 0)
	if err != nil {
		return err
	}
	defer m.Close()
	for err == nil {
		_, err = m.Next(background)
	}
	return err
}

// What a bad sector leaves of a body costs that message, and those that share
// its page; all others are delivered, read and deleted as before.
func TestDamagedPage(t *testing.T) {
	for name, wholePage := range map[string]bool{"content": false, "page": true} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, Options{Server: true})
			for i := range 10 {
				h.must(h.deliver(fmt.Sprint("m", i), fmt.Sprintf("needle-%d %s", i, strings.Repeat("x", 6000))))
			}
			h.damage("needle-5", wholePage)
			var log logs.Recorder
			h.open(Options{Server: true, Logger: slog.New(slog.NewTextHandler(&log, nil))})

			for uidl, err := range h.readAll() {
				if damaged := errors.Is(err, storage.ErrDamaged); damaged != (uidl == "m5") {
					t.Errorf("%s: %v", uidl, err)
				}
			}
			found, n := h.findings(false)
			if text := strings.Join(found, "\n"); n == 0 || !strings.Contains(text, "is damaged (look@me.com m5)") || strings.Contains(text, "m4") {
				t.Errorf("check finds %q", found)
			}

			// Its deletion is done, and what cannot be freed stops nobody.
			drop, entries := h.entries()
			_, err := drop.Update(background, nil, storage.Change{Expunge: storage.UIDs(entries[4:7])})
			h.must(err)
			for i := range 6 {
				h.upkeep.addGarbage(quota.Usage{Messages: maxBacklog + 1}) // with the delivery
				h.must(h.deliver(fmt.Sprint("after", i), "text"))
			}
			h.must(h.Accepting())
			drop, entries = h.entries()
			_, err = drop.Update(background, nil, storage.Change{Expunge: storage.UIDs(entries[:1])})
			h.must(err)
			for uidl, err := range h.readAll() {
				if errors.Is(err, storage.ErrDamaged) {
					t.Errorf("%s: %v", uidl, err)
				}
			}
			if wholePage {
				for end := time.Now().Add(5 * time.Second); !strings.Contains(log.String(), storage.ErrCorrupt.Error()); time.Sleep(10 * time.Millisecond) {
					if time.Now().After(end) {
						t.Fatalf("the log does not tell of the damage: %s", log.String())
					}
				}
				h.must(h.deliver("later", "text"))
				h.upkeep.addGarbage(quota.Usage{})
				h.wait("the arrivals to be compacted all the same", func() bool { return h.arrivals() == 0 })
			}

			// A repair mends what it can reach, and goes on saying what it cannot.
			h.must(h.Close())
			h.open(Options{Exclusive: true})
			h.tamper("UPDATE tally SET octets = octets + 1")
			found, n = h.findings(true)
			if text := strings.Join(found, "\n"); !strings.Contains(text, "mended: maildrop") || (n > 0) != wholePage {
				t.Errorf("repair: %d remain of %q", n, found)
			}
		})
	}
}

// A page of which a sector was overwritten with zeros holds rows of NULLs, where the
// schema allows none: nothing panics, and check tells of whatever cannot be read.
func TestZeroedSectors(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	h.eachZeroedSector(func(at int) {
		s, err := Open(background, h.dir, Options{Server: true})
		if err != nil {
			saysWhatIsWrong(t, at, err)
			return
		}
		found := 0
		_, err = s.Check(background, false, func(storage.Finding) { found++ })
		h.Store = s
		if read, all := h.readSome(); err == nil && found == 0 && read < 5 {
			t.Errorf("%d: check finds nothing, but %d of %d messages can be read", at, read, all)
		}
		h.deliver("after", "text")
		h.must(h.Close())
		h.Store = nil
	})
}

// Around such a page a database is laid out anew, and no message is gone without a
// word, or it is said what helps.
func TestRebuildAroundZeroedSectors(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	lost := filepath.Join(h.dir, "mailsrv.db.lost")
	h.eachZeroedSector(func(at int) {
		missing := 0
		sound, err := Rebuild(background, h.dir, Options{}, func(loss storage.Finding) {
			if strings.HasSuffix(loss.Text, "in look@me.com: its body is missing") {
				missing++
			}
		})
		switch {
		case err != nil:
			saysWhatIsWrong(t, at, err)
		case !sound:
			h.open(Options{Server: true})
			found, _ := h.findings(false)
			for _, finding := range found {
				if !strings.Contains(finding, "is damaged (look@me.com") {
					t.Errorf("%d: %s", at, finding)
				}
			}
			saved, _ := os.ReadDir(lost)
			named := max(missing, len(saved)) // content that is saved may belong to one whose body is missing
			if read, _ := h.readSome(); read+len(found)+named < 5 {
				t.Errorf("%d: of five messages %d are left, %d damaged, %d missing and %d saved", at, read, len(found), missing, len(saved))
			}
			h.must(h.Close())
			h.Store = nil
		}
		h.must(os.RemoveAll(filepath.Join(h.dir, "mailsrv.db.damaged")))
		h.must(os.RemoveAll(lost))
	})
}

// Where the bodies cannot be walked through, and half a page of entries is zeros, check
// still names what is lost.
func TestZeroedEntriesOfLostBodies(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	for i := range 300 {
		h.must(h.deliver(wide(i), strings.Repeat("x", 200)))
	}
	h.must(h.compactAll(background))
	h.editLeaves("entry", func(leaf []byte) { clear(leaf[db.PageSize/2:]) }, 1)
	h.open(Options{})
	h.editLeaves("body", zero, 0)
	h.open(Options{})
	found := 0
	_, err := h.Check(background, false, func(finding storage.Finding) {
		if strings.Contains(finding.Text, "is damaged (look@me.com") {
			found++
		}
	})
	if err != nil || found == 0 {
		t.Errorf("%d bodies are named, %v", found, err)
	}
}

// eachZeroedSector calls f with a store of five messages of which the sector at an
// offset was overwritten with zeros, for one offset after the other. Of those full of
// content it takes each eighth.
func (h *house) eachZeroedSector(f func(at int)) {
	h.t.Helper()
	for i, lines := range []int{1, 500, 3000, 30_000} { // the last one in chunks
		h.must(h.deliver(fmt.Sprint("m", i), strings.Repeat("some text\r\n", lines)))
	}
	h.upkeep.addGarbage(quota.Usage{})
	h.wait("all is compacted", func() bool { return h.arrivals() == 0 })
	h.must(h.deliver("arrived", "text"))
	h.must(h.Close())
	h.Store = nil
	file := filepath.Join(h.dir, "mailsrv.db")
	whole, err := os.ReadFile(file)
	h.must(err)
	const sector = 4096
	texts := 0
	for at := 0; at < len(whole); at += sector {
		octets := bytes.Clone(whole)
		if clear(octets[at : at+sector]); bytes.Equal(octets, whole) {
			continue
		}
		if bytes.Count(whole[at:at+sector], []byte("some text")) > 350 {
			if texts++; texts%8 != 0 {
				continue
			}
		}
		h.must(os.WriteFile(file, octets, 0o600))
		f(at)
	}
}

// saysWhatIsWrong fails the test unless the error is one that has a remedy.
func saysWhatIsWrong(t *testing.T, at int, err error) {
	t.Helper()
	if !errors.Is(err, storage.ErrCorrupt) && !errors.Is(err, storage.ErrLost) {
		t.Errorf("%d: %v", at, err)
	}
}

// readSome returns how many messages can be read of how many there are, and deletes
// half of them.
func (h *house) readSome() (read, all int) {
	h.Lookup(background, mail.Address{Local: "look", Domain: "me.com"})
	drop, err := h.OpenMaildrop(background, h.look)
	if err != nil {
		return 0, 0
	}
	entries, _ := storage.AllEntries(background, drop)
	for _, e := range entries {
		if readThrough(drop, e) == io.EOF {
			read++
		}
	}
	drop.Update(background, nil, storage.Change{Expunge: storage.UIDs(entries[:len(entries)/2]), Retrieved: storage.UIDs(entries[len(entries)/2:])})
	return read, len(entries)
}

// A row of garbage whose size is no number any more, as a flipped bit makes it, ends no
// server: not while it runs, and not at its start.
func TestDamagedSizeOfGarbage(t *testing.T) {
	h := newHouse(t, Options{Server: true, lookEvery: 5 * time.Millisecond})
	h.must(h.deliver("m", "text"))
	h.upkeep.collect.Met(db.ErrRow) // it would be freed
	h.tamper("PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, 'INTEGER NOT NULL', 'ANY NOT NULL') WHERE name = 'garbage'")
	h.tamper("INSERT INTO garbage VALUES (999, 'abc')")
	time.Sleep(50 * time.Millisecond) // some looks
	h.must(h.deliver("n", "text"))
	h.must(h.Close())
	h.open(Options{Server: true, lookEvery: 5 * time.Millisecond})
	h.must(h.deliver("o", "text"))
}

// Where a damaged page keeps garbage from being freed, what is broken off does not keep
// others from staging.
func TestBrokenOffWhileNothingIsFreed(t *testing.T) {
	h := newHouse(t, Options{Server: true, MaxStaged: 4 << 20})
	h.wait("the first look to end", func() bool { return h.engine.Stats().Idle })
	h.must(h.change(background, func(*db.Conn) error { // on the engine's goroutine
		h.upkeep.free = func(*db.Conn, tables.Bounds) (tables.Progress, error) { return tables.Progress{}, db.ErrRow }
		return nil
	}))
	for i := range 10 {
		b, err := h.NewBody(background, 0)
		h.must(err)
		if _, err := b.Write(make([]byte, 3<<20)); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		b.Discard()
	}
}
