package sqlite

import (
	"database/sql/driver"
	"sync/atomic"
	"time"

	"mailsrv/internal/logs"
	"mailsrv/storage"
)

// What is to be freed waits until nothing has been committed for restBefore, so
// that freeing delays nobody; of bodies, as long as no more than maxBacklog wait.
const (
	restBefore = 50 * time.Millisecond
	maxBacklog = 4096
)

// Bounds of one slice of collection. With more than maxBacklog waiting it grows with
// what waits: at maxSliceBodies it frees more than any batch can bring.
const (
	sliceBodies    = 64
	maxSliceBodies = 2 * maxBatch
	perChunk       = 8 // bodies of a slice for each chunk that it may free
	sliceEntries   = 256
)

// progress is what one slice of compaction or collection did, which counts once it is
// committed.
type progress struct {
	freed int64 // bodies that wait no more; less than 0: that wait since
	moved int64 // arrivals compacted
	round int64 // the id up to which they are compacted in this round
	more  bool  // there may be more to do
}

// addGarbage says that this number of bodies has become garbage, and that there may
// be something to compact or collect.
func (m *committer) addGarbage(bodies int64) {
	m.backlog.Add(bodies)
	if m.collect != nil && !m.idleWork.Swap(true) {
		m.queue.signal()
	}
}

// pressed reports whether compaction or collection cannot wait for a rest.
func (m *committer) pressed() bool {
	if m.collect == nil {
		return false
	}
	return m.shouldCompact(maxArrivals) ||
		!m.collectionStopped.Load() && m.idleWork.Load() && (m.backlog.Load() > maxBacklog || m.space.check() != nil)
}

// shouldCompact reports whether more arrivals wait than may, and can be compacted.
func (m *committer) shouldCompact(may int64) bool {
	return m.arrived > may && !m.compactionStopped.Load()
}

// runSlice runs one slice of compaction or collection in a transaction of its own.
func (m *committer) runSlice() {
	j := &job{frees: true, narrow: true, done: make(chan error, 1)}
	j.apply = func(*conn) error { return m.tendRows(true, 0) }
	m.idleWork.Store(false) // before, so that what becomes garbage meanwhile counts
	if m.begin() != nil {
		return // lookAfter comes back to it
	}
	m.finish([]*job{j}, false) // which tends by itself
	m.tendLog()
	if err := <-j.done; err == nil && m.slice.more {
		m.idleWork.Store(true)
	}
}

// tendRows does some of what waits in the open transaction, to which the batch
// brought that number of arrivals: where too many wait, or any at a rest, it compacts those;
// otherwise it frees. A damaged page stops the one that met it, since it would meet
// it again, and not the other.
func (m *committer) tendRows(resting bool, brought int64) error {
	m.slice = progress{round: m.compacted}
	if m.shouldCompact(maxArrivals) || resting && !m.compactionStopped.Load() {
		err := guarded(func() error { return m.compact(brought) })
		if err != nil || m.slice.moved > 0 {
			return m.met(err, &m.compactionStopped, "new mail is no longer put with the rest of its maildrop, so that each listing takes longer the more comes")
		}
	}
	if m.collectionStopped.Load() {
		return nil
	}
	waiting, bodies := m.backlog.Load(), int64(sliceBodies)
	if !resting {
		bodies = max(bodies, m.space.batchPages(min(waiting/32, maxSliceBodies)))
	}
	var p progress
	err := guarded(func() (err error) { p, err = m.collect(m.conn, bodies); return err })
	if !p.more {
		p.freed = waiting // or were shared, and needed after all
	}
	p.round = m.compacted
	m.slice = p
	return m.met(err, &m.collectionStopped, "deleted mail is no longer removed from the disk")
}

// met returns err. Where that is damage it stops the work that met it, and says once
// what this means.
func (m *committer) met(err error, stopped *atomic.Bool, effect string) error {
	if isDamage(err) && !stopped.Swap(true) {
		m.logger.Error(logs.Storage, logs.Reason, effect, logs.Error, named(err))
	}
	return err
}

// compact moves as many arrivals as the batch brings and some more, going round the
// maildrops.
func (m *committer) compact(brought int64) error {
	most := m.space.batchPages(sliceCompact) + brought
	moved, next, err := compact(m.conn, m.compacted, most)
	if err == nil && moved < most && m.compacted > 0 {
		var more int64
		more, next, err = compact(m.conn, 0, most-moved)
		moved += more
	}
	if err == nil && moved == 0 {
		m.arrived = 0 // another process has compacted them
	}
	m.slice = progress{moved: moved, round: next, more: moved > 0}
	return err
}

// recount looks how much waits: what other processes have left, and what is not
// known from before the start. It counts as far as a few slices go.
func (m *committer) recount() {
	if m.conn == nil {
		return
	}
	garbage, err := m.conn.number("SELECT count(*) FROM (SELECT 1 FROM garbage LIMIT ?)", int64(8*maxBacklog))
	if missing := garbage - m.backlog.Load(); err == nil && missing > 0 {
		m.backlog.Add(missing)
	}
	if arrived, err := m.conn.number("SELECT count(*) FROM (SELECT 1 FROM arrival LIMIT ?)", int64(8*maxArrivals)); err == nil {
		m.arrived = arrived
	}
}

// collectSlice frees garbage inside an open transaction, at most the given number of
// bodies. The entries of orphaned folders go first, whose bodies become garbage.
func collectSlice(c *conn, bodies int64) (progress, error) {
	orphan, err := c.first("SELECT mailbox, folder FROM orphan LIMIT 1")
	switch {
	case err != nil:
		return progress{}, err
	case orphan != nil:
		return emptyOrphan(c, place{mailbox: orphan[0].(int64), folder: orphan[1].(int64)})
	}
	return freeBodies(c, bodies)
}

// emptyOrphan removes some entries of a removed mailbox's folder, then what the mailbox
// had put aside, and the orphan itself with the last.
func emptyOrphan(c *conn, orphan place) (p progress, err error) {
	p.more = true
	if p.moved, err = compactFolder(c, orphan.folder); err != nil {
		return p, err
	}
	to, err := c.first("SELECT max(uid) FROM (SELECT uid FROM entry WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?)",
		entryID(orphan.folder, 0), entryID(orphan.folder, int64(storage.MaxUID)), int64(sliceEntries))
	if err != nil {
		return p, err
	}
	if to[0] != nil {
		removed, _, err := expunge(c, orphan, [][2]int64{{0, to[0].(int64)}}, keepAside{})
		p.freed = -removed.Messages
		return p, err
	}
	aside, err := c.number("SELECT max(id) FROM (SELECT id FROM removed WHERE mailbox = ? ORDER BY id LIMIT ?)", orphan.mailbox, int64(sliceEntries))
	if err != nil {
		return p, err
	}
	if aside > 0 {
		p.freed = -sliceEntries
		return p, forget(c, " FROM removed WHERE id <= ? AND mailbox = ?", aside, orphan.mailbox)
	}
	_, _, err = c.exec("DELETE FROM orphan WHERE folder = ?", orphan.folder)
	return p, err
}

// freeBodies removes at most this number of garbage bodies; of a long one, some chunks.
func freeBodies(c *conn, bodies int64) (p progress, err error) {
	var ids []int64
	err = c.each("SELECT body FROM garbage LIMIT ?", func(row []driver.Value) error {
		ids = append(ids, row[0].(int64))
		return nil
	}, bodies)
	if err != nil {
		return p, err
	}
	chunks := bodies / perChunk
	for _, id := range ids {
		first, last := id<<chunkShift, id<<chunkShift|(1<<chunkShift-1)
		gone, _, err := c.exec("DELETE FROM chunk WHERE id IN (SELECT id FROM chunk WHERE id BETWEEN ? AND ? LIMIT ?)",
			first, last, chunks)
		if err != nil {
			return p, err
		}
		if chunks -= gone; chunks <= 0 {
			p.more = true
			return p, nil
		}
		if _, _, err := c.exec("DELETE FROM body WHERE id = ?", id); err != nil {
			return p, err
		}
		if _, _, err := c.exec("DELETE FROM garbage WHERE body = ?", id); err != nil {
			return p, err
		}
		p.freed++
	}
	p.more = int64(len(ids)) == bodies
	return p, nil
}
