package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mattn/go-sqlite3"

	"mailsrv/internal/buffers"
	"mailsrv/storage"
)

// What is new in the write-ahead log must find room in the database on a full
// disk: a small reserve asks for a short log.
func TestLogIsShorterThanTheReserve(t *testing.T) {
	for minFree, want := range map[int64]int64{0: maxWALPages, 256 << 20: maxWALPages, 4 << 20: 64, 100: 1} {
		h := newHouse(t, Options{Server: true, MinFree: minFree})
		got := h.writer.checkpointer.most
		if got != want {
			t.Errorf("min_free %d: %d pages, want %d", minFree, got, want)
		}
	}
}

// One batch must not bring more into the log than the reserve has room for, and
// long messages go on in small batches too.
func TestBatchIsSmallerThanTheReserve(t *testing.T) {
	q := newQueue()
	for range 20 {
		q.add(&job{octets: buffers.Max})
		q.add(&job{octets: buffers.Max, staged: true})
	}
	var octets int64
	for _, j := range q.take((&space{reserve: 16 << 20}).batchOctets(), maxBatchArrivals) {
		octets += j.octets
	}
	if want := int64(2<<20 + buffers.Max); octets != want || len(q.jobs) != 12 || len(q.staged) != 19 {
		t.Errorf("%d octets, want %d; %d deliveries and %d chunks wait", octets, want, len(q.jobs), len(q.staged))
	}
}

// Where the index of the write-ahead log cannot grow, SQLite says I/O error and
// means a full disk: that must not make the store read-only.
func TestFullDiskIsNoFailingDisk(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	full := sqlite3.Error{Code: sqlite3.ErrIoErr, SystemErrno: syscall.ENOSPC}
	for range 5 {
		if err := h.writer.do(background, &job{apply: func(*conn) error { return full }}); !errors.Is(err, storage.ErrNoSpace) {
			t.Errorf("got %v", err)
		}
	}
	h.must(h.deliver("after", "x"))
}

// Once the reserve is given up no mail is taken until it is there again: free
// pages that mail fills could not be emptied.
func TestNoMailWithoutTheReserve(t *testing.T) {
	h := newHouse(t, Options{Server: true, MinFree: 4 << 20})
	h.must(h.Accepting())
	h.must(os.Remove(h.space.reserveFile()))
	h.must(os.MkdirAll(filepath.Join(h.space.reserveFile(), "in the way"), 0o700))
	h.space.recheck()
	if err := h.Accepting(); !errors.Is(err, storage.ErrNoSpace) {
		t.Errorf("got %v", err)
	}
	h.must(os.RemoveAll(h.space.reserveFile()))
	h.space.recheck()
	h.must(h.Accepting())
}

// An answer is not good for a whole second when a fast sender could fill the
// disk in that time.
func TestSpaceIsMeasuredAsItIsTaken(t *testing.T) {
	h := newHouse(t, Options{Server: true, MinFree: 1})
	h.must(h.Accepting())
	// Pretends that no answer is too old, and returns whether one was measured since.
	pretend := func() (measured func() bool) {
		h.space.mu.Lock()
		defer h.space.mu.Unlock()
		never := time.Now().Add(time.Hour)
		h.space.checked, h.space.margin = never, 1<<20
		return func() bool {
			h.space.mu.Lock()
			defer h.space.mu.Unlock()
			return !h.space.checked.Equal(never)
		}
	}
	measured := pretend()
	h.must(h.deliver("small", strings.Repeat("x", 200<<10)))
	if measured() {
		t.Fatal("measured after a small message")
	}
	h.must(h.deliver("second", strings.Repeat("x", 200<<10)))
	if !measured() {
		t.Error("not measured near the minimum")
	}
	measured = pretend()
	h.must(h.deliver("staged", strings.Repeat("x", 600<<10)))
	if !measured() {
		t.Error("not measured while a message was staged")
	}
}

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

// What a broken-off transfer leaves becomes garbage as soon as that can be done, also
// when the disk was full at first.
func TestAbandonedTransferIsTriedAgain(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	var tries atomic.Int64
	h.writer.submit(&job{again: true, apply: func(c *conn) error {
		if tries.Add(1) <= 2 { // in its batch, and alone
			return sqlite3.Error{Code: sqlite3.ErrFull}
		}
		_, _, err := c.exec("INSERT INTO garbage (body) VALUES (7)")
		return err
	}})
	h.must(h.deliver("behind it", "x"))
	h.writer.look.Reset(time.Millisecond)
	h.wait("the job to be done", func() bool { return tries.Load() == 3 && h.count("SELECT count(*) FROM garbage") == 0 })
}

// What somebody else gave up is never delivered: its chunks are being freed.
func TestSweptTransferIsNotDelivered(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	b, err := h.NewBody(background, 0)
	h.must(err)
	defer b.Discard()
	_, err = b.Write(make([]byte, 600<<10))
	h.must(err)
	h.tamper("INSERT INTO garbage SELECT body FROM transfer; DELETE FROM transfer")
	_, err = h.Deliver(background, &storage.Delivery{ID: "m", Body: b, To: []storage.Recipient{{Mailbox: h.look}}})
	if err == nil {
		t.Error("delivered")
	}
	if _, e := h.entries(); len(e) != 0 {
		t.Errorf("%d messages", len(e))
	}
}

// A message with more recipients than a batch may have is a batch, and leaves the
// chunks their share of it.
func TestBatchOfManyRecipients(t *testing.T) {
	q := newQueue()
	q.add(&job{arrivals: 5000})
	q.add(&job{arrivals: 1})
	q.add(&job{octets: buffers.Max, staged: true})
	if n := len(q.take(maxBatchOctets, maxBatchArrivals)); n != 2 {
		t.Errorf("a batch of %d", n)
	}
	if n := len(q.take(maxBatchOctets, maxBatchArrivals)); n != 1 {
		t.Errorf("then one of %d", n)
	}
}

// However much waits to be freed, what a batch does of it is bounded, and the less
// where the reserve is small.
func TestFreeingBesideDeliveriesIsBounded(t *testing.T) {
	for minFree, most := range map[int64]int64{0: maxSliceBodies, 64 << 20: 256} {
		h := newHouse(t, Options{Server: true, MinFree: minFree})
		var asked atomic.Int64
		h.must(h.beside(1_000_000, func(bodies int64) (progress, error) {
			asked.CompareAndSwap(0, bodies)
			return progress{}, nil
		}, true))
		if n := asked.Load(); n != most {
			t.Errorf("min_free %d: %d bodies with a batch, want %d", minFree, n, most)
		}
	}
}

// beside makes this number of bodies wait, and f free them, within one job. With batch
// another job comes right behind it, whose outcome it returns.
func (h *house) beside(bodies int64, f func(bodies int64) (progress, error), batch bool) error {
	h.t.Helper()
	h.wait("the first look to end", func() bool { return !h.writer.idleWork.Load() })
	next := &job{apply: func(*conn) error { return nil }}
	h.must(h.writer.do(background, &job{apply: func(*conn) error {
		h.writer.collect = func(_ *conn, bodies int64) (progress, error) { return f(bodies) }
		h.writer.backlog.Store(bodies)
		h.writer.idleWork.Store(true)
		if batch {
			return h.writer.submit(next)
		}
		return nil
	}}))
	if !batch {
		return nil
	}
	return <-next.done
}

// failing frees nothing, and notes that it was tried.
func failing(tried *atomic.Bool) func(int64) (progress, error) {
	return func(int64) (progress, error) {
		tried.Store(true)
		return progress{}, errors.New("a row that cannot be freed")
	}
}

// A slice of collection that fails must not fail the batch beside it.
func TestCollectingHarmsNoDelivery(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	var tried atomic.Bool
	h.must(h.beside(maxBacklog+1, failing(&tried), true))
	if !tried.Load() {
		t.Error("collection was not tried with the batch")
	}
}

// Whether a batch frees is decided before it: what comes under pressure in the middle
// of a lone job must not make freeing's failure that job's.
func TestPressureWithinAJobHarmsNoDelivery(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	var tried atomic.Bool
	h.must(h.beside(maxBacklog+1, failing(&tried), false))
	h.wait("freeing to be tried", tried.Load)
}

// Bodies whose chunks fill a slice count as waiting until they are gone: under a load
// without rest what waits stays bounded.
func TestFreeingOvertakesLoad(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	h.wait("the first look to end", func() bool { return !h.writer.idleWork.Load() })
	const bodies = 10_000
	h.tamper(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
INSERT INTO chunk (id, crc, data) SELECT (1000000 + i) << 16, 0, x'00' FROM n;
INSERT INTO garbage (body) SELECT id >> 16 FROM chunk`)
	h.writer.addGarbage(bodies)
	for i := range 300 {
		h.must(h.deliver(fmt.Sprint("m", i), "x"))
	}
	if n := h.count("SELECT count(*) FROM garbage"); n > maxBacklog+sliceBodies {
		t.Errorf("%d bodies wait", n)
	}
}
