package sqlite

import (
	"time"

	"github.com/mattn/go-sqlite3"

	"mailsrv/internal/logs"
	"mailsrv/storage"
)

// rollback ends a failed transaction. After a failure of the disk the state of
// the connection is not to be trusted: it is closed, and opened again by the
// next batch.
func (m *committer) rollback(cause error) {
	m.cache.forget() // a COMMIT that failed may have done its work
	if isFull(cause) {
		m.space.recheck() // which tells of it, once
	} else {
		m.logger.Warn(logs.Storage, logs.Reason, "a batch was rolled back", logs.Error, cause)
	}
	if m.diskFailed(cause) {
		return
	}
	if m.conn.AutoCommit() {
		return // SQLite has rolled back by itself
	}
	if _, _, err := m.conn.exec("ROLLBACK"); err != nil {
		m.logger.Error(logs.Storage, logs.Reason, "rollback failed", logs.Error, err)
		m.drop()
	}
}

// diskFailed drops the connection after an I/O error, and reports whether it
// did. After three within a minute nothing is written until a restart: a disk
// that fails now and then must not be given more mail. One that is only full is
// no such disk.
func (m *committer) diskFailed(err error) bool {
	if !is(err, sqlite3.ErrIoErr) && !is(err, sqlite3.ErrCorrupt) && !is(err, sqlite3.ErrNotADB) {
		return false
	}
	m.drop()
	if isFull(err) {
		return true
	}
	now := time.Now()
	recent := m.failures[:0]
	for _, t := range m.failures {
		if now.Sub(t) < time.Minute {
			recent = append(recent, t)
		}
	}
	m.failures = append(recent, now)
	if len(m.failures) >= 3 && !m.readOnly.Swap(true) {
		m.logger.Error(logs.Storage, logs.Reason, storage.ErrReadOnly.Error(), logs.Error, err)
	}
	return true
}

func (m *committer) drop() {
	m.cache.expire()
	m.conn.Close()
	m.conn = nil
}

func (m *committer) reopen() error {
	c, err := openWriter(m.path, m.space.autoCheckpoint())
	if err != nil {
		m.logger.Error(logs.Storage, logs.Reason, "the database cannot be opened again", logs.Error, err)
		return err
	}
	m.conn = c
	return nil
}
