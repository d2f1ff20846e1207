package commit

import (
	"context"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"mailsrv/storage/sqlite/db"
)

// The engine, one goroutine:
//
//	┌───► rest
//	│      │   a change is queued; or none came for RestBefore, and there is upkeep
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
// A refusal is an outcome, not an error: the change has changed no row. A change that
// failed alone in its transaction is tried again only if the disk was full.
//
// At a rest the engine runs one slice of Upkeep after the other, each in a transaction of
// its own, until a change comes or nothing is left to do. If the upkeep cannot wait for a
// rest, each batch takes one slice along.
//
// Three kinds of error change more than their batch:
//
//   - The disk is full: the log is checkpointed before each change is tried alone, and a
//     change that frees space may use the reserve.
//   - An I/O error or a damaged page: the connection is closed, and the next begin opens
//     a new one. The third such error within a minute makes the store read-only until a
//     restart.
//   - A failed sync of the database at a checkpoint: until a restart nothing is written
//     and nothing is checkpointed.

// RestBefore is how long no change must have come before [Upkeep] runs, so that upkeep
// delays nobody.
const RestBefore = 50 * time.Millisecond

// Cache is a cache of rows that the engine keeps valid. The engine calls it on its own
// goroutine.
type Cache interface {
	// Renew reports SQLite's data_version of the database, read after the time since. A
	// version other than the last one means that another process has changed the
	// database. The same version means that the cache was valid at since.
	Renew(since time.Time, version int64)
	// Forget says that any row may have changed.
	Forget()
	// Expire says that any row may have changed, and that the next version cannot be
	// compared with the last one.
	Expire()
}

// Upkeep is work on rows that waits for a rest. The engine calls it on its own goroutine.
type Upkeep interface {
	// Look counts the waiting work, including what other processes have left.
	Look(c *db.Conn)
	// Pressed reports whether so much work waits that each batch must take a slice along.
	Pressed() bool
	// Slice does a part of the work in the open transaction. If resting is set, the
	// transaction has nothing else in it. Otherwise the slice follows a batch, and beside
	// says what that has done. The engine calls done after the commit, unless it is nil.
	// more reports whether there may be more to do.
	Slice(c *db.Conn, resting bool, beside Batch) (done func(), more bool, err error)
}

// Batch is what the changes of a batch have done before the slice of upkeep begins.
type Batch struct {
	Rows int64         // rows added, as declared in Effect.Rows
	Took time.Duration // time that the engine spent on them
}

// Options are the parts and settings of an [Engine].
type Options struct {
	Database *os.File // the open database file: its name is opened, its descriptor is synced
	Conn     *db.Conn // the connection that commits; the engine owns and closes it
	Space    *Space
	Health   *Health
	Cache    Cache
	Holders  *db.Holders // names the process that holds a lock
	Upkeep   Upkeep      // nil: this is no server, and leaves upkeep and checkpoints to one
	// LookEvery is how often a server looks for work that nobody asks for; 0: 5 seconds.
	LookEvery time.Duration
	Logger    *slog.Logger
}

// Engine owns the one connection that writes. It takes waiting changes at once, without a
// timer: while one batch is synced, the next one gathers. [Engine.Do], [Engine.Submit],
// [Engine.Stats], [Engine.Between], [Engine.AskLease] and [Engine.Tend] are safe for
// concurrent use.
type Engine struct {
	database *os.File
	conn     *db.Conn // nil while it can't be opened
	space    *Space
	health   *Health
	cache    Cache
	holders  *db.Holders
	upkeep   Upkeep // nil: no server
	logger   *slog.Logger

	checkpointer *checkpointer // nil: SQLite checkpoints by itself at a COMMIT

	queue      *queue
	between    chan func()
	failed     []*Change     // changes of kind Abandon to be tried again
	wrote      bool          // something was committed; read only after Close
	commits    atomic.Int64  // committed transactions
	leaseAsked atomic.Bool   // a reader waits for a lease on the cache
	idleWork   atomic.Bool   // there may be upkeep to do
	tellAfter  time.Duration // wait after which the holder of the lock is logged
	tellReader time.Duration // wait after which the reader that keeps the log long is logged
	since      time.Time     // when the write lock was taken; zero: it is not held
	held       time.Duration // how long the lock was held since the last pause of leave

	look     *time.Ticker // fires every Options.LookEvery
	rest     *time.Timer  // fires RestBefore after the last change
	finished chan struct{}
}

// New makes an engine. [Engine.Start] starts it, and [Engine.Close] ends it.
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

// Close commits the waiting changes, ends the goroutines and closes the connection. It must
// be called once, after [Engine.Start].
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

// Wrote reports whether anything was committed. Call it only after [Engine.Close] has
// returned.
func (e *Engine) Wrote() bool { return e.wrote }

// Do commits one change and returns its outcome: nil, its refusal, [storage.ErrReadOnly],
// [storage.ErrNoSpace], the context's error, or an unexpected one. ctx can withdraw the
// change only while it waits: once a batch has taken it, Do returns its outcome.
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

// Submit queues a change without waiting for it. It returns an error if the store is
// read-only or closed, or if the change's Effect is not valid.
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

// Between calls f between two transactions of this engine: none is open, and none begins
// before f has returned. It waits for the current batch. After [Engine.Close] it just
// calls f.
func (e *Engine) Between(f func()) {
	done := make(chan struct{})
	select {
	case e.between <- func() { defer close(done); f() }:
		<-done
	case <-e.finished:
		f()
	}
}

// letBetween runs one waiting call of Between, if there is one.
func (e *Engine) letBetween() {
	select {
	case f := <-e.between:
		f()
	default:
	}
}

// Stats is what an engine has done since its start.
type Stats struct {
	Commits int64 // committed transactions
	Idle    bool  // no upkeep is known to wait
}

// Stats returns what the engine has done so far, and whether it is idle.
func (e *Engine) Stats() Stats { return Stats{e.commits.Load(), !e.idleWork.Load()} }

// Tend tells the engine that there may be upkeep to do.
func (e *Engine) Tend() {
	if e.upkeep != nil && !e.idleWork.Swap(true) {
		e.queue.signal()
	}
}

// AskLease asks the engine to renew the lease on the cache: to see whether another process
// has changed the database. It does not wait for that.
func (e *Engine) AskLease() {
	if !e.leaseAsked.Swap(true) {
		e.queue.signal()
	}
}

// run is the engine's goroutine.
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

// lookAfter looks for work that nobody asks for: garbage that the command line has left,
// and changes that failed when the disk was full. It also checks whether the disk is
// still full.
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
		e.queue.add(change) // if the queue is closed, the next start does the work
	}
	e.failed = nil
	if e.space.Check() != nil {
		e.checkpoint()
	}
}

// commitWaiting opens a transaction, then commits the changes that wait by that time.
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
	e.idleWork.Store(false) // before the slice, so that a Tend during it counts
	if e.begin() != nil {
		return // lookAfter tries again
	}
	e.finish([]*Change{change}, false)
	e.tendLog()
	if err := <-change.done; err == nil && more {
		e.idleWork.Store(true)
	}
}

// renewLease renews the lease on the cache, unless data_version cannot be read.
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
