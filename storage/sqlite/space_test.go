package sqlite

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"mailsrv/quota"
	"mailsrv/storage"
	"mailsrv/storage/sqlite/commit"
	"mailsrv/storage/sqlite/db"
	"mailsrv/storage/sqlite/tables"
)

// The disk that counts is the one that the database stands on.
func TestSpaceIsMeasuredWhereTheDatabaseIs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "elsewhere.db")
	s, err := Open(background, t.TempDir(), Options{Server: true, MinFree: 4 << 20, Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := os.Stat(filepath.Join(filepath.Dir(path), "reserve")); err != nil {
		t.Error(err)
	}
}

// What somebody else gave up is never delivered: its chunks are being freed.
func TestSweptTransferIsNotDelivered(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	b, err := h.NewBody(background, 0)
	h.must(err)
	defer b.Discard()
	_, err = b.Write(make([]byte, 600<<10))
	h.must(err)
	h.tamper("UPDATE transfer SET over = 1")
	_, err = h.Deliver(background, &storage.Delivery{ID: "m", Body: b, To: []storage.Recipient{{Mailbox: h.look}}})
	if err == nil {
		t.Error("delivered")
	}
	if _, e := h.entries(); len(e) != 0 {
		t.Errorf("%d messages", len(e))
	}
}

// However much waits to be freed, what a batch does of it is bounded, and the less
// where the reserve is small.
func TestFreeingBesideDeliveriesIsBounded(t *testing.T) {
	for minFree, most := range map[int64]int64{0: maxSliceBodies, 64 << 20: 256} {
		h := newHouse(t, Options{Server: true, MinFree: minFree})
		var asked atomic.Int64
		h.wait("the first look to end", func() bool { return h.engine.Stats().Idle })
		h.must(h.change(background, func(*db.Conn) error { // on the engine's goroutine
			h.upkeep.free = func(_ *db.Conn, b tables.Bounds) (tables.Progress, error) {
				asked.CompareAndSwap(0, b.Bodies)
				return tables.Progress{}, nil
			}
			h.upkeep.addGarbage(quota.Usage{Messages: 1_000_000})
			return h.engine.Submit(&commit.Change{Effect: commit.Effect{Kind: commit.Edit}, Apply: func(*db.Conn) error { return nil }})
		}))
		h.deliver("beside it", "x")
		if n := asked.Load(); n != most {
			t.Errorf("min_free %d: %d bodies with a batch, want %d", minFree, n, most)
		}
	}
}

// Bodies whose chunks fill a slice count as waiting until they are gone: under a load
// without rest what waits stays bounded.
func TestFreeingOvertakesLoad(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	h.wait("the first look to end", func() bool { return h.engine.Stats().Idle })
	const bodies = 10_000
	h.tamper(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
INSERT INTO chunk (id, crc, data) SELECT (1000000 + i) << 16, 0, x'00' FROM n;
INSERT INTO garbage (body, octets) SELECT id >> 16, 1 FROM chunk`)
	h.upkeep.addGarbage(quota.Usage{Messages: bodies})
	for i := range 300 {
		h.must(h.deliver(fmt.Sprint("m", i), "x"))
	}
	if n := h.count("SELECT count(*) FROM garbage"); n > maxBacklog+sliceBodies {
		t.Errorf("%d bodies wait", n)
	}
}

// Many deleted messages are freed while others are delivered, few only when
// there is nothing else to do.
func TestFreeingWaitsForARest(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	h.must(h.deliver("a", "x"))
	d, e := h.entries()
	h.wait("the first look to end", func() bool { return h.engine.Stats().Idle })
	_, err := d.Update(background, nil, storage.Change{Expunge: storage.UIDs(e)})
	h.must(err)
	h.upkeep.addGarbage(quota.Usage{Messages: maxBacklog + 1})
	h.must(h.deliver("b", "x"))
	h.must(h.deliver("c", "x"))
	if n := h.count("SELECT count(*) FROM garbage"); n != 0 {
		t.Errorf("%d bodies wait, and many more do", n)
	}
	d, e = h.entries()
	_, err = d.Update(background, nil, storage.Change{Expunge: storage.UIDs(e)})
	h.must(err)
	h.wait("a rest", func() bool { return h.count("SELECT count(*) FROM body") == 0 })
}
