package sqlite

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mattn/go-sqlite3"
	"golang.org/x/sys/unix"

	"mailsrv/internal/logs"
	"mailsrv/storage"
)

// checkpointer brings the write-ahead log into the database while the committer
// goes on: on the committer's own connection that would stop all mail for the
// tenth of a second that it takes. What is committed meanwhile is brought in by
// further passes, each shorter. The last few pages are the committer's, between
// two batches: only when nothing is added can the log begin anew in its place.
//
// Once a sync of the database has failed there are no more checkpoints. The kernel
// takes the pages for written, whatever became of them, and SQLite may count them as
// brought in: they are sure in the log alone, which must not begin anew. The next
// start brings all of it in once more.
type checkpointer struct {
	database *os.File // its name is that of the database
	pages    int64    // new ones in the log, of which there is reason to begin
	most     int64    // pages that the committer brings in itself
	logger   *slog.Logger

	mu       sync.Mutex // one checkpoint at a time: SQLite would refuse the second
	unsynced atomic.Bool
	failed   chan struct{} // closed when a sync has failed

	// The committer's.
	begun  int64 // pages of the log when the last checkpoint began
	active bool

	wanted   chan struct{}
	nearly   chan struct{} // the rest is the committer's
	finished chan struct{}
}

const (
	fewPages  = 200 // that the committer can bring in between two batches
	maxPasses = 4
	patience  = 20 * time.Millisecond // of the committer with readers of the old log
)

func newCheckpointer(database *os.File, most int64, logger *slog.Logger) *checkpointer {
	k := &checkpointer{
		database: database, pages: max(1, most/4), most: most, logger: logger,
		wanted: make(chan struct{}, 1), nearly: make(chan struct{}, 1), finished: make(chan struct{}),
		failed: make(chan struct{}),
	}
	go k.run()
	return k
}

// close ends the goroutine, after the pass at hand.
func (k *checkpointer) close() {
	close(k.wanted)
	<-k.finished
}

func (k *checkpointer) run() {
	defer close(k.finished)
	for range k.wanted {
		// What fails here the committer tries again, and knows what to make of it.
		if err := k.passes(); err != nil {
			k.logger.Debug(logs.Storage, logs.Reason, "checkpoint", logs.Error, err)
		}
		k.nearly <- struct{}{}
	}
}

func (k *checkpointer) passes() error {
	c, err := openConn(k.database.Name(), readerCacheKiB)
	if err != nil {
		return err
	}
	defer c.Close()
	for range maxPasses {
		log, err := k.pass(c)
		if err != nil || log.pages-log.done <= fewPages {
			return err
		}
	}
	return nil
}

// pass brings in what the log has by now.
func (k *checkpointer) pass(c *conn) (walState, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	log, err := k.checkpoint(c, "PASSIVE")
	if err != nil {
		return log, err
	}
	// SQLite syncs the database only when it has brought in everything, which
	// would leave all of that to the committer.
	if err := unix.Fdatasync(int(k.database.Fd())); err != nil {
		k.syncFailed(err)
		return log, err
	}
	return log, nil
}

// checkpoint runs a checkpoint, unless a sync has failed. The caller holds mu.
func (k *checkpointer) checkpoint(c *conn, mode string) (walState, error) {
	if k.unsynced.Load() {
		return walState{}, storage.ErrReadOnly
	}
	log, err := c.checkpoint(mode)
	var failed sqlite3.Error
	if errors.As(err, &failed) && failed.ExtendedCode == sqlite3.ErrIoErrFsync {
		k.syncFailed(err)
	}
	return log, err
}

// syncFailed ends all checkpoints, that of SQLite's last connection too, which would
// then remove the log: that asks for the database's shared lock for itself alone, as
// which it locks the octets of SHARED_FIRST and SHARED_SIZE in its source.
func (k *checkpointer) syncFailed(err error) {
	lock := unix.Flock_t{Type: unix.F_RDLCK, Start: 1<<30 + 2, Len: 510}
	locked := unix.FcntlFlock(k.database.Fd(), unix.F_OFD_SETLK, &lock)
	if !k.unsynced.Swap(true) {
		k.logger.Error(logs.Storage, logs.Reason, "the disk has failed to sync the database: nothing is lost, and nothing is written until a restart, which brings all mail in from the write-ahead log once more", logs.Error, errors.Join(err, locked))
		close(k.failed)
	}
}

// tendLog is the committer's part, after a batch: it has the log brought into
// the database when that has become long, and ends what was begun.
func (m *committer) tendLog() {
	k := m.checkpointer
	if k == nil || m.conn == nil {
		return
	}
	log, err := m.conn.checkpoint("NOOP")
	if err != nil {
		return // the next batch meets it again
	}
	if log.pages >= k.most {
		if m.checkpoint(); m.conn == nil {
			return
		}
	}
	if k.active {
		select {
		case <-k.nearly:
			k.active = false
			m.restartLog()
		default:
		}
		return
	}
	if log.pages < k.begun {
		k.begun = 0 // the log has begun anew
	}
	if log.pages-k.begun >= k.pages {
		k.begun, k.active = log.pages, true
		k.wanted <- struct{}{}
	}
}

// restartLog brings in what is left of the log and makes the next batch begin it
// anew, unless somebody reads from it for long, such as a backup.
func (m *committer) restartLog() {
	m.checkpointer.mu.Lock()
	defer m.checkpointer.mu.Unlock()
	m.conn.script(fmt.Sprintf("PRAGMA busy_timeout = %d", patience.Milliseconds()))
	_, err := m.checkpointer.checkpoint(m.conn, "RESTART")
	m.conn.script("PRAGMA busy_timeout = " + busyTimeout)
	m.checkpointed(err)
}

// checkpoint brings the write-ahead log into the database, as far as there is
// room, so that it can be written anew in its place. No transaction is open.
func (m *committer) checkpoint() {
	if m.conn == nil {
		return
	}
	run := m.conn.checkpoint
	if k := m.checkpointer; k != nil {
		k.mu.Lock()
		defer k.mu.Unlock()
		run = func(mode string) (walState, error) { return k.checkpoint(m.conn, mode) }
	}
	_, err := run("PASSIVE")
	m.checkpointed(err)
}

func (m *committer) checkpointed(err error) {
	if err != nil && !isFull(err) && !m.unsynced() {
		m.logger.Warn(logs.Storage, logs.Reason, "checkpoint", logs.Error, err)
		m.diskFailed(err)
	}
}

// unsynced reports whether what is in the database may not be on the disk.
func (m *committer) unsynced() bool { return m.checkpointer != nil && m.checkpointer.unsynced.Load() }

// walState is how far the write-ahead log has got, in pages.
type walState struct {
	pages, done int64 // in the log, and of those in the database
}

// checkpoint runs a checkpoint of SQLite's, or with NOOP looks at the log.
func (c *conn) checkpoint(mode string) (s walState, err error) {
	err = c.each("PRAGMA wal_checkpoint="+mode, func(row []driver.Value) error {
		s = walState{row[1].(int64), row[2].(int64)}
		return nil
	})
	return s, err
}
