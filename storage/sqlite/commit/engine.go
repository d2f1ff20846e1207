package commit

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/mattn/go-sqlite3"

	"mailsrv/internal/logs"
	"mailsrv/storage"
	"mailsrv/storage/sqlite/db"
)

// The engine, one goroutine:
//
//	┌───► rest
//	│      │   a change is queued; or none for RestBefore, and there is upkeep
//	│      ▼
//	│    gather ............ the queue grows until the write lock is held
//	│      ▼
//	│    begin ◄─┐
//	│      │ └───┘ ......... busy: again, for busyLimit
//	│      │ └── error ────► answer each with it, and rest
//	│      ▼
//	│    apply each ─ error ──► roll back ──► each alone, once:
//	│      ▼                       ▲          begin, apply, commit
//	│    commit ───── error ───────┘               │
//	│      ▼                                       ▼
//	│    bring the cache up to date           answer each with
//	│      ▼                                  its own outcome
//	│    answer each                               │
//	│      ▼                                       │
//	└─── checkpoint, if the log is long ◄──────────┘
//
// A change that refuses has an outcome and changes no row: that is no error. One that
// was alone in its transaction is tried again only where the disk was full.
//
// At a rest one slice of Upkeep is a batch of its own, until a change comes or nothing
// is left. Where that cannot wait, a slice goes with each batch.
//
// Three kinds of error change more than their batch:
//
//   - The disk is full: the log is checkpointed before each is tried alone, and a change
//     that frees space may use the reserve.
//   - An I/O error or a damaged page ends the connection, and the next begin opens
//     another. The third within a minute makes the store read-only until a restart.
//   - A failed sync of the database, at a checkpoint: nothing is written and nothing
//     checkpointed until a restart.

// busyLimit is how long the lock of another process is waited for.
const busyLimit = time.Minute

// begin asks for the write lock again and again, pollLock after the last time: SQLite's own
// wait sleeps up to 100 ms at a time, in which other processes may pass by.
const pollLock = 2 * time.Millisecond

// tellLock is how long begin waits before it says who holds the lock.
const tellLock = 5 * time.Second

// leaveAfter is how long a process that is no server may hold the lock, in transactions
// one after the other, before it leaves it alone for leaveFor. A server that polls gets
// it then.
const (
	leaveAfter = 10 * time.Millisecond
	leaveFor   = 5 * time.Millisecond
)

// RestBefore is how long nothing must have been committed before Upkeep is done, so that
// it delays nobody.
const RestBefore = 50 * time.Millisecond

// Cache is what is remembered of rows. The engine calls it on its own goroutine.
type Cache interface {
	// Renew tells that the database had this data_version at a time since which
	// nobody but this engine can have changed it unseen. Another version than before
	// says that another process has.
	Renew(since time.Time, version int64)
	// Forget tells that any row may have changed.
	Forget()
	// Expire tells that versions are no longer comparable, besides.
	Expire()
}

// Upkeep is work on rows that waits for a rest. The engine calls it on its own goroutine.
type Upkeep interface {
	// Look counts what waits, some of which other processes may have left.
	Look(c *db.Conn)
	// Pressed reports whether so much waits that a slice must go with each batch.
	Pressed() bool
	// Slice does a part of the work in the open transaction: resting, in one of its own;
	// otherwise with a batch, which says what it has done. done is called once it is
	// committed, unless it is nil. more: there may be more to do.
	Slice(c *db.Conn, resting bool, beside Batch) (done func(), more bool, err error)
}

// Batch is what the changes of a batch have done by the time that its slice begins.
type Batch struct {
	Rows int64         // that they add
	Took time.Duration // of the engine
}

// Options of an engine.
type Options struct {
	Database *os.File // of which the name counts, and the descriptor for syncing
	Conn     *db.Conn // that commits, and is the engine's from then on
	Space    *Space
	Health   *Health
	Cache    Cache
	Holders  *db.Holders // names who holds a lock
	Upkeep   Upkeep      // nil: no server, which leaves upkeep and checkpoints to one
	// LookEvery is how often a server looks for work that nobody asks for; 0: 5 seconds.
	LookEvery time.Duration
	Logger    *slog.Logger
}

// Engine owns the one connection that writes. It takes whatever waits, at once, without
// a timer: while one batch is being synced the next one gathers. Do, Submit, Stats,
// Between, AskLease and Tend are safe for concurrent use.
type Engine struct {
	database *os.File
	conn     *db.Conn // nil while it can't be opened
	space    *Space
	health   *Health
	cache    Cache
	holders  *db.Holders
	upkeep   Upkeep // nil: no server
	logger   *slog.Logger

	checkpointer *checkpointer // nil: SQLite's own way

	queue      *queue
	between    chan func()
	failed     []*Change     // to be tried again
	wrote      bool          // something was committed; to be read once it is closed
	commits    atomic.Int64  // transactions
	leaseAsked atomic.Bool   // a reader waits for a lease on the cache
	idleWork   atomic.Bool   // there may be upkeep to do
	tellAfter  time.Duration // who holds the lock
	tellReader time.Duration // who keeps the log from beginning anew
	since      time.Time     // the lock is held; zero: it is not
	held       time.Duration // it was, since it was last left alone

	look     *time.Ticker // of Options.LookEvery
	rest     *time.Timer  // of RestBefore
	finished chan struct{}
}

// New makes an engine. Start starts it, Close ends it.
func New(o Options) *Engine {
	if o.LookEvery == 0 {
		o.LookEvery = 5 * time.Second
	}
	return &Engine{
		database: o.Database, conn: o.Conn, space: o.Space, health: o.Health, cache: o.Cache, holders: o.Holders, upkeep: o.Upkeep, logger: o.Logger,
		queue: newQueue(), between: make(chan func()), tellAfter: tellLock, tellReader: tellReader,
		look: time.NewTicker(o.LookEvery), rest: time.NewTimer(RestBefore), finished: make(chan struct{}),
	}
}

// Start starts the engine's goroutines.
func (e *Engine) Start() {
	e.poll()
	if e.upkeep != nil {
		e.checkpointer = newCheckpointer(e.database, e.space.LogPages(), e.health, e.holders, e.logger)
		e.checkpointer.tellAfter = e.tellReader
		e.upkeep.Look(e.conn)
		e.idleWork.Store(true)
	}
	go e.run()
}

// Close commits what waits, and ends the goroutines and the connection.
func (e *Engine) Close() error {
	e.queue.close()
	<-e.finished
	if e.checkpointer != nil {
		e.checkpointer.close()
	}
	if e.conn == nil {
		return nil
	}
	return e.conn.Close()
}

// Wrote reports whether anything was committed. It may be called once Close has returned.
func (e *Engine) Wrote() bool { return e.wrote }

// Do commits one change and returns its outcome: nil, its refusal, storage.ErrReadOnly,
// ErrNoSpace, or an unexpected error. ctx takes it back only while it waits.
func (e *Engine) Do(ctx context.Context, change *Change) error {
	if err := e.Submit(change); err != nil {
		return err
	}
	select {
	case err := <-change.done:
		return err
	case <-ctx.Done():
		if change.state.CompareAndSwap(waiting, withdrawn) {
			return ctx.Err()
		}
		return <-change.done
	}
}

// Submit queues a change without waiting for it. Its effect is checked here.
func (e *Engine) Submit(change *Change) error {
	if err := e.health.Writable(); err != nil {
		return err
	}
	if err := change.Effect.check(); err != nil {
		return err
	}
	change.done = make(chan error, 1)
	return e.queue.add(change)
}

// Between calls f while no transaction of this engine is open, and none begins before it
// has returned. It waits for the batch at hand. Once the engine is closed it just calls f.
func (e *Engine) Between(f func()) {
	done := make(chan struct{})
	select {
	case e.between <- func() { defer close(done); f() }:
		<-done
	case <-e.finished:
		f()
	}
}

// letBetween lets one call of Between have its turn.
func (e *Engine) letBetween() {
	select {
	case f := <-e.between:
		f()
	default:
	}
}

// Stats are counts of an engine's life.
type Stats struct {
	Commits int64 // transactions that were committed
	Idle    bool  // no upkeep is known to wait
}

// Stats returns what the engine has done so far.
func (e *Engine) Stats() Stats { return Stats{e.commits.Load(), !e.idleWork.Load()} }

// Tend says that there may be upkeep to do.
func (e *Engine) Tend() {
	if e.upkeep != nil && !e.idleWork.Swap(true) {
		e.queue.signal()
	}
}

// AskLease asks for a new lease on the cache: whether another process has changed the
// database.
func (e *Engine) AskLease() {
	if !e.leaseAsked.Swap(true) {
		e.queue.signal()
	}
}

func (e *Engine) run() {
	defer close(e.finished)
	defer e.look.Stop()
	defer e.rest.Stop()
	for resting := false; ; {
		select {
		case <-e.look.C:
			e.lookAfter()
		default:
		}
		e.letBetween()
		some, closed := e.queue.state()
		switch {
		case some:
			resting = false
			e.rest.Reset(RestBefore)
			e.commitWaiting()
		case closed:
			return
		case e.leaseAsked.Load():
			e.renewLease()
		case e.idleWork.Load() && (resting || e.pressed()):
			e.runSlice()
		default:
			select {
			case <-e.queue.wake:
			case f := <-e.between:
				f()
			case <-e.rest.C:
				resting = true
			case <-e.look.C:
				e.lookAfter()
			}
		}
	}
}

// pressed reports whether upkeep cannot wait for a rest.
func (e *Engine) pressed() bool { return e.upkeep != nil && e.upkeep.Pressed() }

// lookAfter finds the work that nobody asks for: what the command line has left
// to free, what failed when the disk was full, and whether it still is.
func (e *Engine) lookAfter() {
	if e.upkeep == nil || e.health.Writable() != nil {
		return
	}
	if e.conn != nil {
		e.upkeep.Look(e.conn)
	}
	e.idleWork.Store(true)
	for _, change := range e.failed {
		change.state.Store(waiting)
		e.queue.add(change) // once closed, the next start does it
	}
	e.failed = nil
	if e.space.Check() != nil {
		e.checkpoint()
	}
}

// commitWaiting opens a transaction, then takes what waits by that time.
func (e *Engine) commitWaiting() {
	if err := e.begin(); err != nil {
		e.answer(e.takeBatch(), err)
		return
	}
	e.finish(e.takeBatch(), e.pressed())
	e.tendLog()
}

func (e *Engine) takeBatch() []*Change {
	return e.queue.take(e.space.batchOctets(), e.space.Pages(maxBatchRows))
}

// runSlice runs one slice of upkeep in a transaction of its own.
func (e *Engine) runSlice() {
	more := false
	change := &Change{Effect: Effect{Kind: Remove}, done: make(chan error, 1)}
	change.Apply = func(c *db.Conn) (err error) {
		change.Committed, more, err = e.upkeep.Slice(c, true, Batch{})
		return err
	}
	e.idleWork.Store(false) // before, so that what comes to wait meanwhile counts
	if e.begin() != nil {
		return // lookAfter comes back to it
	}
	e.finish([]*Change{change}, false)
	e.tendLog()
	if err := <-change.done; err == nil && more {
		e.idleWork.Store(true)
	}
}

// answer tells those who wait that their changes failed.
func (e *Engine) answer(batch []*Change, err error) {
	for _, change := range batch {
		if change.Effect.Kind == Abandon {
			e.failed = append(e.failed, change)
		} else {
			change.done <- e.health.explain(err)
		}
	}
}

// begin takes the write lock, waiting for another process (the command line)
// that holds it. Deliveries that cannot wait so long withdraw by themselves.
func (e *Engine) begin() error {
	if e.unsynced() {
		return storage.ErrReadOnly
	}
	if e.conn == nil {
		if err := e.reopen(); err != nil {
			return err
		}
	}
	e.leave()
	begun, told := time.Now(), false
	for {
		_, _, err := e.conn.Exec("BEGIN IMMEDIATE")
		waited := time.Since(begun)
		switch {
		case err == nil:
			e.since = time.Now()
			e.renewLease()
			return nil
		case db.Is(err, sqlite3.ErrBusy) && waited < busyLimit:
			e.letBetween()
			if e.leaseAsked.Load() {
				e.renewLease() // what is cached is true all the same
			}
			if !told && waited >= e.tellAfter {
				told = true
				e.logger.Warn(logs.Storage, logs.Reason, "nothing can be stored while another process writes: "+named(e.holders.Writer(), "one that cannot be named")+" has the lock of the database",
					logs.Duration, waited.Round(time.Millisecond).String())
			}
		default:
			e.diskFailed(err)
			return err
		}
	}
}

// named is the name of a process, or what else to call it.
func named(process, otherwise string) string {
	if process == "" {
		return otherwise
	}
	return process
}

// poll has begin try again soon where another process has the lock.
func (e *Engine) poll() {
	e.conn.Script(fmt.Sprintf("PRAGMA busy_timeout = %d", pollLock.Milliseconds()))
}

// leave leaves the lock alone for a while, where this is no server and has held it for
// long in transactions that followed one another.
func (e *Engine) leave() {
	if e.upkeep == nil && e.held >= leaveAfter {
		time.Sleep(leaveFor)
		e.held = 0
	}
}

// released notes that the lock was given back.
func (e *Engine) released() {
	if !e.since.IsZero() {
		e.held += time.Since(e.since)
		e.since = time.Time{}
	}
}

// renewLease begins a lease on the cache, unless it cannot be known whether
// that still holds.
func (e *Engine) renewLease() {
	e.leaseAsked.Store(false)
	if e.conn == nil {
		return
	}
	since := time.Now()
	if version, err := e.conn.Number("PRAGMA data_version"); err == nil {
		e.cache.Renew(since, version)
	}
}

// finish applies the batch in the open transaction, with a slice of upkeep if tend is
// set, commits, and answers. When anything unexpected happens the batch is rolled back
// and each change is tried once more by itself: one bad change never harms its neighbours.
func (e *Engine) finish(batch []*Change, tend bool) {
	shared := len(batch) > 1 || tend
	err := e.applyAndCommit(batch, tend)
	if err == nil {
		for _, change := range batch {
			change.done <- change.Refusal
		}
		return
	}
	if db.IsFull(err) {
		e.checkpoint()
	}
	for _, change := range batch {
		if err := e.alone(change, err, shared); err != nil {
			e.answer([]*Change{change}, err)
		} else {
			change.done <- change.Refusal
		}
	}
}

// alone tries one change of a failed transaction by itself. first is the error of
// that, and the change's own if it was not shared.
func (e *Engine) alone(change *Change, first error, shared bool) error {
	err := first
	if shared || db.IsFull(err) {
		err = e.once(change)
	}
	for change.Effect.Kind.frees() && db.IsFull(err) && e.space.UseReserve() {
		e.checkpoint()
		err = e.once(change)
	}
	return err
}

// once runs one change in a transaction of its own.
func (e *Engine) once(change *Change) error {
	if err := e.begin(); err != nil {
		return err
	}
	return e.applyAndCommit([]*Change{change}, false)
}

// applyAndCommit works inside the open transaction and always ends it. tend adds a
// slice of upkeep, whose failure is the batch's.
func (e *Engine) applyAndCommit(batch []*Change, tend bool) error {
	defer e.released()
	var did Batch
	begun := time.Now()
	for _, change := range batch {
		change.Refusal = nil
		if err := db.Guarded(func() error { return change.Apply(e.conn) }); err != nil {
			e.rollback(err)
			return err
		}
		if change.Refusal == nil {
			did.Rows += change.Effect.Rows
		}
	}
	var tended func()
	if tend {
		did.Took = time.Since(begun)
		done, more, err := e.upkeep.Slice(e.conn, false, did)
		if err != nil {
			e.idleWork.Store(false) // until lookAfter
			e.rollback(err)
			return err
		}
		tended = done
		if !more {
			e.idleWork.Store(false)
		}
	}
	if _, _, err := e.conn.Exec("COMMIT"); err != nil {
		e.rollback(err)
		return err
	}
	e.wrote = true
	e.commits.Add(1)
	for _, change := range batch {
		if change.Committed != nil && change.Refusal == nil {
			change.Committed()
		}
	}
	if tended != nil {
		tended()
	}
	return nil
}

// rollback ends a failed transaction. After a failure of the disk the state of
// the connection is not to be trusted: it is closed, and opened again by the
// next batch.
func (e *Engine) rollback(cause error) {
	e.cache.Forget() // a COMMIT that failed may have done its work
	if db.IsFull(cause) {
		e.space.Recheck() // which tells of it, once
	} else {
		e.logger.Warn(logs.Storage, logs.Reason, "a batch was rolled back", logs.Error, cause)
	}
	if e.diskFailed(cause) {
		return
	}
	if e.conn.AutoCommit() {
		return // SQLite has rolled back by itself
	}
	if _, _, err := e.conn.Exec("ROLLBACK"); err != nil {
		e.logger.Error(logs.Storage, logs.Reason, "rollback failed", logs.Error, err)
		e.drop()
	}
}

// diskFailed drops the connection after a failure of the disk, and reports whether it
// did. A disk that is only full counts as sound.
func (e *Engine) diskFailed(err error) bool {
	if !isDiskFailure(err) {
		return false
	}
	e.drop()
	if !db.IsFull(err) {
		e.health.diskFailed(err)
	}
	return true
}

// drop closes the connection.
func (e *Engine) drop() {
	e.cache.Expire()
	e.conn.Close()
	e.conn = nil
}

// reopen opens another.
func (e *Engine) reopen() error {
	c, err := db.OpenWriter(e.database.Name(), e.space.AutoCheckpoint())
	if err != nil {
		e.logger.Error(logs.Storage, logs.Reason, "the database cannot be opened again", logs.Error, err)
		return err
	}
	e.conn = c
	e.poll()
	return nil
}
