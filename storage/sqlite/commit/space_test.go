package commit

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mailsrv/storage"
	"mailsrv/storage/sqlite/db"
)

// What is new in the write-ahead log must find room in the database on a full
// disk: a small reserve asks for a short log.
func TestLogIsShorterThanTheReserve(t *testing.T) {
	for minFree, want := range map[int64]int64{0: db.MaxLogPages, 256 << 20: db.MaxLogPages, 4 << 20: 64, 100: 1} {
		r := newRig(t, minFree, &chores{})
		if got := r.checkpointer.most; got != want {
			t.Errorf("min_free %d: %d pages, want %d", minFree, got, want)
		}
	}
}

// Once the reserve is given up no mail is taken until it is there again: free
// pages that mail fills could not be emptied.
func TestNoMailWithoutTheReserve(t *testing.T) {
	r := newRig(t, 4<<20, &chores{})
	r.must(r.space.Check())
	r.must(os.Remove(r.space.reserveFile()))
	r.must(os.MkdirAll(filepath.Join(r.space.reserveFile(), "in the way"), 0o700))
	r.space.Recheck()
	if err := r.health.Accepting(); !errors.Is(err, storage.ErrNoSpace) || r.health.Condition() != Full {
		t.Errorf("got %v, condition %d", err, r.health.Condition())
	}
	r.must(os.RemoveAll(r.space.reserveFile()))
	r.space.Recheck()
	r.must(r.health.Accepting())
}

// The reserve is laid out while there is room, given up once, and laid out
// again.
func TestReserve(t *testing.T) {
	r := newRig(t, 4<<20, &chores{})
	info, err := os.Stat(r.space.reserveFile())
	r.must(err)
	if info.Size() != 1<<20 {
		t.Errorf("%d octets, want a quarter of min_free", info.Size())
	}
	parts := 0
	for r.space.UseReserve() {
		parts++
	}
	if left := r.space.laidOut(); parts != reserveParts || left != 0 {
		t.Errorf("%d octets are left after %d parts", left, parts)
	}
	r.space.Recheck()
	r.must(r.space.Check())
	if left := r.space.laidOut(); left != 1<<20 {
		t.Errorf("%d octets were laid out again", left)
	}
}

// An answer is not good for a whole second when a fast sender could fill the
// disk in that time.
func TestSpaceIsMeasuredAsItIsTaken(t *testing.T) {
	r := newRig(t, 1, &chores{})
	r.must(r.space.Check())
	never := time.Now().Add(time.Hour) // no answer is too old
	r.space.mu.Lock()
	r.space.checked, r.space.margin = never, 1<<20
	r.space.mu.Unlock()
	for i, want := range []bool{false, true} { // measured
		r.must(r.space.Take(200 << 10))
		r.space.mu.Lock()
		if got := !r.space.checked.Equal(never); got != want {
			t.Errorf("message %d: measured: %t, want %t", i, got, want)
		}
		r.space.mu.Unlock()
	}
}

// logPages looks how long the log is.
func (r *rig) logPages() func() int64 {
	look, err := db.Open(r.database.Name(), db.ReaderCacheKiB)
	r.must(err)
	r.t.Cleanup(func() { look.Close() })
	return func() int64 {
		log, err := look.Checkpoint("NOOP")
		r.must(err)
		return log.Pages
	}
}

// The write-ahead log begins anew while changes keep coming, and without the
// engine having to bring all of it in.
func TestCheckpointBesideChanges(t *testing.T) {
	r := newRig(t, 0, &chores{})
	pages := r.logPages()
	var enough atomic.Bool
	var group sync.WaitGroup
	content := strings.Repeat("x", 60<<10)
	for range 8 {
		group.Go(func() {
			for !enough.Load() {
				if err := r.note(content); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	most, before := int64(0), int64(0)
	r.wait("the log to begin anew", func() bool {
		now := pages()
		anew := now < before
		most, before = max(most, now), now
		return anew
	})
	enough.Store(true)
	group.Wait()
	if most >= db.MaxLogPages {
		t.Errorf("the log had %d pages", most)
	}
}

// Who reads for long keeps the log from beginning anew, and nobody waits for it.
func TestCheckpointBesideALongReader(t *testing.T) {
	r := newRig(t, 0, &chores{})
	r.must(r.note("first"))
	content := strings.Repeat("x", 200<<10)
	read := func(c *db.Conn) int64 {
		n, err := c.Number("SELECT count(*) FROM note")
		r.must(err)
		return n
	}
	r.must(r.readers.Snapshot(background, func(c *db.Conn) error {
		before := read(c)
		for range 2 * db.MaxLogPages * db.PageSize / len(content) {
			r.must(r.note(content))
		}
		if after := read(c); after != before {
			t.Errorf("a snapshot of %d notes became one of %d", before, after)
		}
		return nil
	}))
	pages := r.logPages()
	r.wait("the log to begin anew", func() bool {
		r.must(r.note(content))
		return pages() < db.MaxLogPages/2
	})
}
