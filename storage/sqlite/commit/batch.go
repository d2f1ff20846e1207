package commit

import (
	"time"

	"mailsrv/internal/logs"
	"mailsrv/storage/sqlite/db"
)

// finish applies the batch in the open transaction, with a slice of upkeep if tend is
// set, commits, and answers. If anything unexpected happens, the batch is rolled back
// and each change is tried once more by itself, so that one bad change does not fail the
// others.
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

// answer tells the callers that their changes failed. Changes of kind Abandon, for which
// nobody waits, are kept to be tried again.
func (e *Engine) answer(batch []*Change, err error) {
	for _, change := range batch {
		if change.Effect.Kind == Abandon {
			e.failed = append(e.failed, change)
		} else {
			change.done <- e.health.explain(err)
		}
	}
}

// alone tries one change of a failed transaction by itself. first is the error of the
// failed transaction. If that was not shared, first is the change's own error, and the
// change is tried again only if the disk was full.
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

// applyAndCommit applies the batch in the open transaction, and always ends that. If tend
// is set it adds a slice of upkeep. If the slice fails, the batch fails.
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
			e.idleWork.Store(false) // until lookAfter sets it again
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

// rollback ends a failed transaction. After a failure of the disk the state of the
// connection cannot be trusted: rollback closes it, and the next batch opens a new one.
func (e *Engine) rollback(cause error) {
	e.cache.Forget() // a COMMIT that failed may have changed the rows
	if db.IsFull(cause) {
		e.space.Recheck() // the next check logs that the disk is full, once
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

// diskFailed drops the connection if err is a failure of the disk, and reports whether it
// did. A disk that is only full is not counted as a failure in [Health].
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

// drop closes the connection and expires the cache.
func (e *Engine) drop() {
	e.cache.Expire()
	e.conn.Close()
	e.conn = nil
}

// reopen opens a new connection after drop.
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
