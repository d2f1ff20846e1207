package sqlite

import (
	"database/sql/driver"
	"time"

	"github.com/mattn/go-sqlite3"

	"mailsrv/internal/logs"
)

// What is to be freed waits until nothing has been committed for restBefore, so
// that freeing delays nobody; of bodies, as long as no more than maxBacklog wait.
const (
	restBefore = 50 * time.Millisecond
	maxBacklog = 4096
)

// Bounds of one slice of freeing, small beside a batch of deliveries. With more than
// maxBacklog waiting it grows with what waits, so that it overtakes any load.
const (
	sliceBodies  = 64
	perChunk     = 8 // bodies of a slice for each chunk that it may free
	sliceEntries = 256
)

// tidy says that so many bodies are to be freed.
func (m *committer) tidy(bodies int64) {
	m.backlog.Add(bodies)
	if m.upkeep != nil && !m.damaged.Load() && !m.idleWork.Swap(true) {
		m.queue.signal()
	}
}

// pressed reports whether upkeep cannot wait for a rest.
func (m *committer) pressed() bool {
	if m.upkeep == nil || m.damaged.Load() {
		return false
	}
	return m.arrived > maxArrivals || m.idleWork.Load() && (m.backlog.Load() > maxBacklog || m.space.check() != nil)
}

// free runs one slice of upkeep by itself.
func (m *committer) free() {
	more := false
	j := &job{frees: true, narrow: true, done: make(chan error, 1)}
	j.apply = func(*conn) (err error) { more, err = m.slice(true, 0); return err }
	m.idleWork.Store(false) // before, so that what is doomed meanwhile counts
	m.commit([]*job{j})
	if err := <-j.done; err == nil && more {
		m.idleWork.Store(true)
	}
}

// slice does some of what waits in the open transaction, to which the batch brought
// so many arrivals: where too many wait, or any at a rest, it settles those;
// otherwise it frees.
func (m *committer) slice(resting bool, brought int64) (more bool, err error) {
	settled := false
	if resting || m.arrived > maxArrivals {
		settled, err = m.settle(brought)
	}
	if !settled && err == nil {
		waiting, bodies, freed := m.backlog.Load(), int64(sliceBodies), int64(0)
		if !resting {
			bodies = max(bodies, waiting/16)
		}
		if freed, more, err = m.upkeep(m.conn, bodies); !more {
			freed = waiting // or were shared, and needed after all
		}
		m.freed += freed
	}
	if is(err, sqlite3.ErrCorrupt) && !m.damaged.Swap(true) {
		m.logger.Error(logs.Storage, logs.Reason, "the database is damaged where mail is removed or settled, which is not done until a restart: mailsrv check names the messages that are lost, mailsrv check --repair saves what can be read, a backup has the rest", logs.Error, err)
	}
	return more || settled, err
}

// settle settles as many arrivals as the batch brings and some more, going round the
// maildrops, and reports whether there were any. A round that fails goes on behind
// what failed.
func (m *committer) settle(brought int64) (settled bool, err error) {
	least := m.space.sliceSettle() + brought
	moved, next, err := settle(m.conn, m.settled, least)
	if err == nil && moved < least && m.settled > 0 {
		var more int64
		more, next, err = settle(m.conn, 0, least-moved)
		moved += more
	}
	m.settled = next
	m.moved += moved
	return moved > 0, err
}

// recount looks how much waits: what other processes have left, and what is not
// known from before the start. It counts as far as a few slices go.
func (m *committer) recount() {
	if m.conn == nil {
		return
	}
	doomed, err := m.conn.number("SELECT count(*) FROM (SELECT 1 FROM doomed LIMIT ?)", int64(8*maxBacklog))
	if err == nil {
		m.backlog.Store(max(doomed, m.backlog.Load()))
	}
	if arrived, err := m.conn.number("SELECT count(*) FROM (SELECT 1 FROM arrival LIMIT ?)", int64(8*maxArrivals)); err == nil {
		m.arrived = arrived
	}
}

// upkeep frees one slice of so many bodies inside an open transaction, and reports
// how many are freed and whether there is more: entries of orphaned maildrops
// first, which dooms bodies, then doomed bodies.
func upkeep(c *conn, bodies int64) (freed int64, more bool, err error) {
	orphan, err := c.number("SELECT maildrop FROM orphan LIMIT 1")
	if err != nil {
		return 0, false, err
	}
	if orphan != 0 {
		doomed, err := emptyOrphan(c, orphan)
		return -doomed, true, err
	}
	return freeBodies(c, bodies)
}

// emptyOrphan removes some entries of a removed mailbox's maildrop, then what it
// had put aside, and the orphan itself with the last. It returns how many bodies
// that may have doomed.
func emptyOrphan(c *conn, maildrop int64) (doomed int64, err error) {
	if _, err := settleMaildrop(c, maildrop); err != nil {
		return 0, err
	}
	to, err := c.number("SELECT max(sequence) FROM (SELECT sequence FROM entry WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?)",
		entryID(maildrop, 0), entryID(maildrop+1, 0)-1, int64(sliceEntries))
	if err != nil {
		return 0, err
	}
	if to > 0 {
		removed, err := expungeRange(c, maildrop, 0, to, false)
		return removed.Messages, err
	}
	to, err = c.number("SELECT max(id) FROM (SELECT id FROM removed WHERE maildrop = ? ORDER BY id LIMIT ?)", maildrop, int64(sliceEntries))
	if err != nil {
		return 0, err
	}
	if to > 0 {
		return sliceEntries, forget(c, " FROM removed WHERE id <= ? AND maildrop = ?", to, maildrop)
	}
	_, _, err = c.exec("DELETE FROM orphan WHERE maildrop = ?", maildrop)
	return 0, err
}

// freeBodies removes so many doomed bodies; of a long one, some chunks.
func freeBodies(c *conn, bodies int64) (freed int64, more bool, err error) {
	var ids []int64
	err = c.each("SELECT body FROM doomed LIMIT ?", func(row []driver.Value) error {
		ids = append(ids, row[0].(int64))
		return nil
	}, bodies)
	if err != nil {
		return 0, false, err
	}
	chunks := bodies / perChunk
	for _, id := range ids {
		first, last := id<<chunkShift, id<<chunkShift|(1<<chunkShift-1)
		gone, _, err := c.exec("DELETE FROM chunk WHERE id IN (SELECT id FROM chunk WHERE id BETWEEN ? AND ? LIMIT ?)",
			first, last, chunks)
		if err != nil {
			return 0, false, err
		}
		if chunks -= gone; chunks <= 0 {
			return freed, true, nil
		}
		if _, _, err := c.exec("DELETE FROM body WHERE id = ?", id); err != nil {
			return 0, false, err
		}
		if _, _, err := c.exec("DELETE FROM doomed WHERE body = ?", id); err != nil {
			return 0, false, err
		}
		freed++
	}
	return freed, int64(len(ids)) == bodies, nil
}
