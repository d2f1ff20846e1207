package commit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mattn/go-sqlite3"

	"mailsrv/internal/buffers"
	"mailsrv/internal/logs"
	"mailsrv/storage"
	"mailsrv/storage/sqlite/db"
)

var background = context.Background()

// rig is an engine on a database with one table of notes.
type rig struct {
	*Engine
	t       *testing.T
	readers *db.Readers
}

// forgetful caches nothing.
type forgetful struct{}

func (forgetful) Renew(time.Time, int64) {}
func (forgetful) Forget()                {}
func (forgetful) Expire()                {}

// chores are what waits for a rest: slice does a part of it.
type chores struct {
	pressed atomic.Bool
	slice   func(c *db.Conn, resting bool, beside Batch) (more bool, err error)
	done    atomic.Int64 // slices that were committed
}

func (u *chores) Look(*db.Conn) {}
func (u *chores) Pressed() bool { return u.pressed.Load() }
func (u *chores) Slice(c *db.Conn, resting bool, did Batch) (done func(), more bool, err error) {
	if u.slice != nil {
		more, err = u.slice(c, resting, did)
	}
	return func() { u.done.Add(1) }, more, err
}

// newRig starts a server's engine, or a command's without chores.
func newRig(t *testing.T, minFree int64, u *chores) *rig {
	t.Helper()
	return newRigAt(t, filepath.Join(t.TempDir(), "notes.db"), minFree, u, func(*Engine) {})
}

// newRigAt is newRig on a database, which it makes if it is not there. prepare is called
// before the engine starts.
func newRigAt(t *testing.T, path string, minFree int64, u *chores, prepare func(*Engine)) *rig {
	t.Helper()
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, readers: db.NewReaders(path, 4)}
	space := NewSpace(path, minFree, u != nil, r.readers, logs.Discard())
	c, err := db.OpenWriter(path, space.AutoCheckpoint())
	r.must(err)
	r.must(c.Script("CREATE TABLE IF NOT EXISTS note (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT"))
	o := Options{Database: file, Conn: c, Space: space, Health: NewHealth(space, logs.Discard()), Cache: forgetful{}, Holders: db.NewHolders(path), LookEvery: 20 * time.Millisecond, Logger: logs.Discard()}
	if u != nil {
		o.Upkeep = u
	}
	space.Check()
	r.Engine = New(o)
	prepare(r.Engine)
	r.Start()
	t.Cleanup(func() {
		r.Close()
		r.readers.Close()
		file.Close()
	})
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// note adds a note.
func (r *rig) note(text string) error {
	return r.Do(background, &Change{Effect: Effect{Kind: Add, Octets: int64(len(text)), Rows: 1}, Apply: insert(text)})
}

func insert(text any) func(*db.Conn) error {
	return func(c *db.Conn) error {
		_, _, err := c.Exec("INSERT INTO note (text) VALUES (?)", text)
		return err
	}
}

// fail returns what a change hears that fails so.
func (r *rig) fail(err error) error {
	return r.Do(background, &Change{Effect: Effect{Kind: Edit}, Apply: func(*db.Conn) error { return err }})
}

func (r *rig) count() (n int64) {
	r.t.Helper()
	r.must(r.readers.Use(background, func(c *db.Conn) (err error) { n, err = c.Number("SELECT count(*) FROM note"); return err }))
	return n
}

func (r *rig) wait(what string, until func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !until(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// hold keeps the write lock, so that changes gather in one batch, until it is called.
func (r *rig) hold() (release func()) {
	r.t.Helper()
	other, err := db.Open(r.database.Name(), 100)
	r.must(err)
	r.must(other.Script("BEGIN IMMEDIATE"))
	return func() {
		r.t.Helper()
		r.must(other.Script("COMMIT"))
		r.must(other.Close())
	}
}

// A change whose effect is not declared, or is not its kind's, is not queued.
func TestEffectsAreChecked(t *testing.T) {
	r := newRig(t, 0, nil)
	for _, bad := range []Effect{
		{},
		{Kind: Abandon + 1},
		{Kind: Edit, Octets: 1},
		{Kind: Remove, Rows: 1},
		{Kind: Stage},
		{Kind: Stage, Octets: 1, Rows: 1},
		{Kind: Add, Octets: -1},
		{Kind: Add, Rows: -1},
	} {
		if err := r.Do(background, &Change{Effect: bad, Apply: insert("x")}); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
	if n := r.count(); n != 0 {
		t.Errorf("%d notes", n)
	}
}

// What is cached is brought up to date after the commit and before anybody hears of
// it, and not for what was refused.
func TestCommittedBeforeTheAnswer(t *testing.T) {
	r := newRig(t, 0, nil)
	told := false
	r.must(r.Do(background, &Change{Effect: Effect{Kind: Edit}, Apply: insert("x"), Committed: func() { told = r.count() == 1 }}))
	if !told {
		t.Error("not told, or before the commit")
	}
	no := errors.New("no")
	refused := &Change{Effect: Effect{Kind: Edit}, Committed: func() { t.Error("told of a refused change") }}
	refused.Apply = func(*db.Conn) error { refused.Refusal = no; return nil }
	if err := r.Do(background, refused); err != no {
		t.Errorf("got %v", err)
	}
}

// One change that fails must not harm those in its batch.
func TestBadChangeAmongGood(t *testing.T) {
	r := newRig(t, 0, nil)
	release := r.hold()
	const good = 10
	var group sync.WaitGroup
	errs := make(chan error, good)
	for i := range good {
		group.Go(func() { errs <- r.note(fmt.Sprint("m", i)) })
	}
	bad := make(chan error, 1)
	group.Go(func() { bad <- r.Do(background, &Change{Effect: Effect{Kind: Edit}, Apply: insert(nil)}) })
	release()
	group.Wait()
	for range good {
		r.must(<-errs)
	}
	if err := <-bad; err == nil {
		t.Error("the bad one was told that it is done")
	}
	if n := r.count(); n != good {
		t.Errorf("%d notes, want %d", n, good)
	}
}

// Three failures of the disk in a minute end the writing; reading goes on.
func TestReadOnlyAfterDiskFailures(t *testing.T) {
	r := newRig(t, 0, &chores{})
	r.must(r.note("before"))
	disk := sqlite3.Error{Code: sqlite3.ErrIoErr}
	for range 3 {
		if err := r.fail(disk); err == nil {
			t.Fatal("a failure was hidden")
		}
	}
	if err := r.note("after"); !errors.Is(err, storage.ErrReadOnly) {
		t.Errorf("a change: %v", err)
	}
	if err := r.health.Accepting(); !errors.Is(err, storage.ErrReadOnly) || r.health.Condition() != ReadOnly {
		t.Errorf("accepting: %v, condition %d", err, r.health.Condition())
	}
	if n := r.count(); n != 1 {
		t.Errorf("%d notes", n)
	}
}

// A full disk is not a failing one, whatever SQLite calls it: where the index of its log
// cannot grow it says I/O error.
func TestFullDiskIsNoFailingDisk(t *testing.T) {
	for _, full := range []error{
		sqlite3.Error{Code: sqlite3.ErrFull},
		sqlite3.Error{Code: sqlite3.ErrIoErr, SystemErrno: syscall.ENOSPC},
		sqlite3.Error{Code: sqlite3.ErrIoErr, SystemErrno: syscall.EDQUOT},
		sqlite3.Error{Code: sqlite3.ErrIoErr, SystemErrno: syscall.EFBIG},
	} {
		r := newRig(t, 0, &chores{})
		for range 5 {
			if err := r.fail(full); !errors.Is(err, storage.ErrNoSpace) {
				t.Errorf("%v: got %v", full, err)
			}
		}
		r.must(r.note("after"))
	}
}

// The gravest condition counts, and work that met damage is the least.
func TestConditions(t *testing.T) {
	var log logs.Recorder
	space := NewSpace(filepath.Join(t.TempDir(), "none.db"), 0, true, nil, logs.Discard())
	h := NewHealth(space, slog.New(slog.NewTextHandler(&log, nil)))
	w := h.NewWork("nothing is tidied")
	want := func(c Condition, writable, accepting bool) {
		t.Helper()
		if got := h.Condition(); got != c || (h.Writable() == nil) != writable || (h.Accepting() == nil) != accepting {
			t.Errorf("condition %d, want %d; writable: %v, accepting: %v", got, c, h.Writable(), h.Accepting())
		}
	}
	want(Well, true, true)
	w.Met(errors.New("no damage"))
	want(Well, true, true)
	w.Met(db.ErrRow)
	w.Met(db.ErrRow)
	want(Hampered, true, true)
	if n := strings.Count(log.String(), "nothing is tidied"); n != 1 {
		t.Errorf("told %d times", n)
	}
	space.minFree, space.low, space.checked = 1, true, time.Now()
	want(Full, true, false)
	h.GiveUpWriting(errors.New("disk"))
	want(ReadOnly, false, false)
	h.syncFailed(errors.New("sync"))
	want(Unsynced, false, false)
	select {
	case <-h.Failed():
	default:
		t.Error("nobody is told that the server must end")
	}
}

// What nobody waits for is tried again when it failed.
func TestAbandonedIsTriedAgain(t *testing.T) {
	r := newRig(t, 0, &chores{})
	var tries atomic.Int64
	r.must(r.Submit(&Change{Effect: Effect{Kind: Abandon}, Apply: func(c *db.Conn) error {
		if tries.Add(1) <= 2 { // in its batch, and alone
			return sqlite3.Error{Code: sqlite3.ErrFull}
		}
		return insert("again")(c)
	}}))
	r.must(r.note("behind it"))
	r.wait("the change to be done", func() bool { return tries.Load() == 3 && r.count() == 2 })
}

// Upkeep waits for a rest, or goes with each batch where it cannot.
func TestUpkeepWaitsForARest(t *testing.T) {
	u := &chores{}
	var beside atomic.Int64
	u.slice = func(_ *db.Conn, resting bool, did Batch) (more bool, err error) {
		if !resting {
			beside.Add(did.Rows)
		}
		return false, nil
	}
	r := newRig(t, 0, u)
	r.wait("a slice at a rest", func() bool { return u.done.Load() > 0 })
	r.must(r.note("x"))
	if n := beside.Load(); n != 0 {
		t.Errorf("%d rows were added beside a slice", n)
	}
	u.pressed.Store(true)
	r.must(r.note("y"))
	if n := beside.Load(); n != 1 {
		t.Errorf("%d rows were added beside a slice, want 1", n)
	}
}

// A slice that fails must not fail the batch beside it.
func TestUpkeepHarmsNoChange(t *testing.T) {
	u := &chores{}
	var tried atomic.Int64
	u.slice = func(*db.Conn, bool, Batch) (bool, error) {
		tried.Add(1)
		return false, errors.New("a row that cannot be freed")
	}
	r := newRig(t, 0, u)
	u.pressed.Store(true)
	r.must(r.note("x"))
	if tried.Load() == 0 {
		t.Error("upkeep was not tried with the batch")
	}
	if n := r.count(); n != 1 {
		t.Errorf("%d notes", n)
	}
}

// Whether a slice goes with a batch is decided before it: what comes under pressure in
// the middle of a lone change must not make the slice's failure that change's.
func TestPressureWithinAChangeHarmsNone(t *testing.T) {
	u := &chores{}
	var tried atomic.Bool
	r := newRig(t, 0, u)
	r.wait("the first look to end", func() bool { return r.Stats().Idle })
	r.must(r.Do(background, &Change{Effect: Effect{Kind: Edit}, Apply: func(*db.Conn) error {
		u.slice = func(*db.Conn, bool, Batch) (bool, error) {
			tried.Store(true)
			return false, errors.New("a row that cannot be freed")
		}
		u.pressed.Store(true)
		return nil
	}}))
	r.Tend()
	r.wait("upkeep to be tried", tried.Load)
}

// One batch must not bring more into the log than the reserve has room for, and
// long messages go on in small batches too.
func TestBatchIsSmallerThanTheReserve(t *testing.T) {
	q := newQueue()
	for range 20 {
		q.add(&Change{Effect: Effect{Kind: Add, Octets: buffers.Max}})
		q.add(&Change{Effect: Effect{Kind: Stage, Octets: buffers.Max}})
	}
	var octets int64
	for _, change := range q.take((&Space{reserve: 16 << 20}).batchOctets(), maxBatchRows) {
		octets += change.Effect.Octets
	}
	if want := int64(2<<20 + buffers.Max); octets != want || len(q.changes) != 12 || len(q.staged) != 19 {
		t.Errorf("%d octets, want %d; %d deliveries and %d chunks wait", octets, want, len(q.changes), len(q.staged))
	}
}

// A message with more recipients than a batch may have is a batch, and leaves the
// chunks their share of it.
func TestBatchOfManyRows(t *testing.T) {
	q := newQueue()
	q.add(&Change{Effect: Effect{Kind: Add, Rows: 5000}})
	q.add(&Change{Effect: Effect{Kind: Add, Rows: 1}})
	q.add(&Change{Effect: Effect{Kind: Stage, Octets: buffers.Max}})
	if n := len(q.take(maxBatchOctets, maxBatchRows)); n != 2 {
		t.Errorf("a batch of %d", n)
	}
	if n := len(q.take(maxBatchOctets, maxBatchRows)); n != 1 {
		t.Errorf("then one of %d", n)
	}
}
