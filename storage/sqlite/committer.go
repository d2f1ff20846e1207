package sqlite

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/mattn/go-sqlite3"

	"mailsrv/storage"
)

// The commit engine, one goroutine:
//
//	┌───► rest
//	│      │   a job is queued; or none for restBefore, and there is idle work
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
//	│    update the cache                     answer each with
//	│      ▼                                  its own outcome
//	│    answer each                               │
//	│      ▼                                       │
//	└─── checkpoint, if the log is long ◄──────────┘
//
// A job that refuses has an outcome and changes no row: that is no error. One that
// was alone in its transaction is tried again only where the disk was full.
//
// Idle work is compaction and collection. At a rest one slice of it is a batch of its
// own, until a job comes or nothing is left. Where too much waits for that, or the
// disk is low, a slice goes with each batch.
//
// Three kinds of error change more than their batch:
//
//   - The disk is full: the log is checkpointed before each is tried alone, and a job
//     that frees space may use the reserve.
//   - An I/O error or a damaged page ends the connection, and the next begin opens
//     another. The third within a minute makes the store read-only until a restart.
//   - A failed sync of the database, at a checkpoint: nothing is written and nothing
//     checkpointed until a restart.

// busyLimit is how long the lock of another process is waited for.
const busyLimit = time.Minute

// lookEvery is how often a server looks for work that nobody asks for.
const lookEvery = 5 * time.Second

// committer owns the one connection that writes. It takes whatever waits, at
// once, without a timer: while one batch is being synced the next one gathers.
type committer struct {
	path   string
	space  *space
	logger *slog.Logger
	conn   *conn // nil while it can't be opened

	checkpointer *checkpointer // nil: SQLite's own way
	cache        *cache
	leaseAsked   atomic.Bool // a reader waits for a lease on the cache

	failed []*job // to be tried again
	wrote  bool   // something was committed; to be read once it is closed

	queue     *queue
	look      *time.Ticker // of lookEvery
	rest      *time.Timer  // of restBefore
	finished  chan struct{}
	collect   func(c *conn, bodies int64) (progress, error) // frees a slice of garbage; nil: no server, which leaves that and compaction to one
	idleWork  atomic.Bool                                   // there may be something to compact or collect
	backlog   atomic.Int64                                  // bodies that may be garbage
	arrived   int64                                         // arrivals that wait to be compacted
	compacted int64                                         // the id up to which this round has compacted them
	slice     progress                                      // of the open transaction

	collectionStopped atomic.Bool // it met a damaged page, and would again
	compactionStopped atomic.Bool

	failures []time.Time // of the disk, the last minute's
	readOnly atomic.Bool
}

func newCommitter(database *os.File, c *conn, space *space, logger *slog.Logger, collect func(*conn, int64) (progress, error)) *committer {
	m := &committer{
		path: database.Name(), conn: c, space: space, logger: logger, collect: collect,
		queue: newQueue(), look: time.NewTicker(lookEvery), rest: time.NewTimer(restBefore),
		finished: make(chan struct{}),
	}
	m.cache = newCache(m.askLease)
	if collect != nil {
		m.checkpointer = newCheckpointer(database, space.walPages(), logger)
		m.recount()
		m.idleWork.Store(true)
	}
	go m.run()
	return m
}

// close commits what waits and ends the goroutine.
func (m *committer) close() error {
	m.queue.close()
	<-m.finished
	if m.checkpointer != nil {
		m.checkpointer.close()
	}
	if m.conn == nil {
		return nil
	}
	return m.conn.Close()
}

// do commits one change and returns its outcome. ctx takes it back only while
// it waits.
func (m *committer) do(ctx context.Context, j *job) error {
	if err := m.submit(j); err != nil {
		return err
	}
	select {
	case err := <-j.done:
		return err
	case <-ctx.Done():
		if j.state.CompareAndSwap(jobWaiting, jobWithdrawn) {
			return ctx.Err()
		}
		return <-j.done
	}
}

// refuses reports whether nothing is written until a restart.
func (m *committer) refuses() bool { return m.readOnly.Load() || m.unsynced() }

// change commits what f does, for changes that need none of a job's options.
func (m *committer) change(ctx context.Context, f func(c *conn, refuse func(error)) error) error {
	j := &job{}
	j.apply = func(c *conn) error { return f(c, func(err error) { j.outcome = err }) }
	return m.do(ctx, j)
}

// submit queues a change without waiting for it.
func (m *committer) submit(j *job) error {
	if m.refuses() {
		return storage.ErrReadOnly
	}
	j.done = make(chan error, 1)
	return m.queue.add(j)
}

// askLease asks for a new lease: whether another process has changed the database.
func (m *committer) askLease() {
	if !m.leaseAsked.Swap(true) {
		m.queue.signal()
	}
}

func (m *committer) run() {
	defer close(m.finished)
	defer m.look.Stop()
	defer m.rest.Stop()
	for resting := false; ; {
		select {
		case <-m.look.C:
			m.lookAfter()
		default:
		}
		waiting, closed := m.queue.state()
		switch {
		case waiting:
			resting = false
			m.rest.Reset(restBefore)
			m.commitWaiting()
		case closed:
			return
		case m.leaseAsked.Load():
			m.renewLease()
		case m.idleWork.Load() && (resting || m.pressed()):
			m.runSlice()
		default:
			select {
			case <-m.queue.wake:
			case <-m.rest.C:
				resting = true
			case <-m.look.C:
				m.lookAfter()
			}
		}
	}
}

// lookAfter finds the work that nobody asks for: what the command line has left
// to free, what failed when the disk was full, and whether it still is.
func (m *committer) lookAfter() {
	if m.collect == nil || m.refuses() {
		return
	}
	m.recount()
	m.idleWork.Store(true)
	for _, j := range m.failed {
		j.state.Store(jobWaiting)
		m.queue.add(j) // once closed, the next start does it
	}
	m.failed = nil
	if m.space.check() != nil {
		m.checkpoint()
	}
}

// commitWaiting opens a transaction, then takes what waits by that time.
func (m *committer) commitWaiting() {
	if err := m.begin(); err != nil {
		m.answer(m.takeBatch(), err)
		return
	}
	m.finish(m.takeBatch(), m.pressed())
	m.tendLog()
}

func (m *committer) takeBatch() []*job {
	return m.queue.take(m.space.batchOctets(), m.space.batchPages(maxBatchArrivals))
}

// answer tells those who wait that their jobs failed.
func (m *committer) answer(batch []*job, err error) {
	for _, j := range batch {
		if j.again {
			m.failed = append(m.failed, j)
		} else {
			j.done <- m.explain(err)
		}
	}
}

// begin takes the write lock, waiting for another process (the command line)
// that holds it. Deliveries that cannot wait so long withdraw by themselves.
func (m *committer) begin() error {
	if m.unsynced() {
		return storage.ErrReadOnly
	}
	if m.conn == nil {
		if err := m.reopen(); err != nil {
			return err
		}
	}
	give := time.Now().Add(busyLimit)
	for {
		_, _, err := m.conn.exec("BEGIN IMMEDIATE")
		switch {
		case err == nil:
			m.renewLease()
			return nil
		case is(err, sqlite3.ErrBusy) && time.Now().Before(give):
		default:
			m.diskFailed(err)
			return err
		}
	}
}

// renewLease begins a lease on the cache, unless it cannot be known whether
// that still holds.
func (m *committer) renewLease() {
	m.leaseAsked.Store(false)
	if m.conn == nil {
		return
	}
	since := time.Now()
	if version, err := m.conn.number("PRAGMA data_version"); err == nil {
		m.cache.renew(since, version)
	}
}

// finish applies the batch in the open transaction, with a slice of compaction or
// collection if tend is set, commits, and answers. When anything unexpected happens
// the batch is rolled back and each job is tried once more by itself: one bad job
// never harms its neighbours.
func (m *committer) finish(batch []*job, tend bool) {
	shared := len(batch) > 1 || tend
	err := m.applyAndCommit(batch, tend)
	if err == nil {
		for _, j := range batch {
			j.done <- j.outcome
		}
		return
	}
	if isFull(err) {
		m.checkpoint()
	}
	for _, j := range batch {
		if err := m.alone(j, err, shared); err != nil {
			m.answer([]*job{j}, err)
		} else {
			j.done <- j.outcome
		}
	}
}

// alone tries one job of a failed transaction by itself. first is the error of
// that, and the job's own if it was not shared.
func (m *committer) alone(j *job, first error, shared bool) error {
	err := first
	if shared || isFull(err) {
		err = m.once(j)
	}
	for j.frees && isFull(err) && m.space.useReserve() {
		m.checkpoint()
		err = m.once(j)
	}
	return err
}

// once runs one job in a transaction of its own.
func (m *committer) once(j *job) error {
	if err := m.begin(); err != nil {
		return err
	}
	return m.applyAndCommit([]*job{j}, false)
}

// explain turns what SQLite says into the contract's errors.
func (m *committer) explain(err error) error {
	switch {
	case m.refuses():
		return storage.ErrReadOnly
	case isFull(err):
		return errors.Join(storage.ErrNoSpace, err)
	}
	return named(err)
}

// applyAndCommit works inside the open transaction and always ends it. tend adds a
// slice of compaction or collection, whose failure is the batch's.
func (m *committer) applyAndCommit(batch []*job, tend bool) error {
	brought := int64(0)
	m.slice = progress{round: m.compacted}
	for _, j := range batch {
		j.outcome = nil
		if err := guarded(func() error { return j.apply(m.conn) }); err != nil {
			m.rollback(err)
			return err
		}
		if j.outcome == nil {
			brought += j.arrivals
		}
	}
	if tend {
		if err := m.tendRows(false, max(0, brought)); err != nil {
			m.idleWork.Store(false) // until lookAfter
			m.rollback(err)
			return err
		}
		if !m.slice.more {
			m.idleWork.Store(false)
		}
	}
	if _, _, err := m.conn.exec("COMMIT"); err != nil {
		m.rollback(err)
		return err
	}
	m.wrote = true
	m.compacted = m.slice.round
	m.arrived = max(0, m.arrived+brought-m.slice.moved)
	if m.collect != nil && m.shouldCompact(manyArrivals) {
		m.idleWork.Store(true) // the next rest will do
	}
	if left := m.backlog.Add(-m.slice.freed); left < 0 {
		m.backlog.Add(-left)
	}
	m.updateCache(batch)
	return nil
}

// updateCache brings the cache to what the batch has committed.
func (m *committer) updateCache(batch []*job) {
	var changed []counters
	for _, j := range batch {
		if !j.narrow {
			m.cache.forget()
			return
		}
		changed = append(changed, j.counted...)
	}
	m.cache.committed(changed)
}
