package commit

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/mattn/go-sqlite3"
	"golang.org/x/sys/unix"

	"mailsrv/internal/logs"
	"mailsrv/storage"
	"mailsrv/storage/sqlite/db"
)

// checkpointer copies the write-ahead log into the database on a connection of its own,
// while the engine goes on. On the engine's connection a checkpoint would stop all mail
// for the tenth of a second that it takes. Further passes copy what was committed during
// the first one; each is shorter. The engine copies the last few pages between two
// batches: SQLite can only restart the log while nobody adds to it.
//
// After a failed sync of the database there are no more checkpoints. The kernel counts
// the pages as written, whether they are on the disk or not, and SQLite may count them as
// copied. Only the log is known to have them, so it must not restart. The next start of
// the server copies all of it once more.
type checkpointer struct {
	database *os.File // the open database file
	pages    int64    // new pages in the log at which a checkpoint begins
	most     int64    // pages in the log at which the engine itself runs a checkpoint
	health   *Health
	holders  *db.Holders
	logger   *slog.Logger

	mu sync.Mutex // one checkpoint at a time: SQLite would refuse the second

	// Only the engine's goroutine uses these.
	begun     int64 // pages of the log when the last checkpoint began
	active    bool  // a checkpoint was asked for and has not been finished by the engine
	tellAfter time.Duration
	long      time.Time // since when the log has at least most pages; zero: it has fewer
	told      bool      // the reader that keeps the log long was logged

	wanted   chan struct{} // asks for a checkpoint
	nearly   chan struct{} // the passes are done, the engine does the rest
	finished chan struct{}
}

const (
	fewPages  = 200 // pages that the engine can copy between two batches
	maxPasses = 4
	patience  = 20 * time.Millisecond // how long the engine waits for readers of the log
	// tellReader is how long the log may be longer than it should be before the reader
	// that keeps it so is logged. A backup of some GiB keeps it so.
	tellReader = time.Minute
)

func newCheckpointer(database *os.File, most int64, health *Health, holders *db.Holders, logger *slog.Logger) *checkpointer {
	k := &checkpointer{
		database: database, pages: max(1, most/4), most: most, health: health, holders: holders, logger: logger,
		wanted: make(chan struct{}, 1), nearly: make(chan struct{}, 1), finished: make(chan struct{}),
	}
	go k.run()
	return k
}

// close ends the goroutine after its current checkpoint.
func (k *checkpointer) close() {
	close(k.wanted)
	<-k.finished
}

func (k *checkpointer) run() {
	defer close(k.finished)
	for range k.wanted {
		// If this fails, the engine tries again and handles the error.
		if err := k.passes(); err != nil {
			k.logger.Debug(logs.Storage, logs.Reason, "checkpoint", logs.Error, err)
		}
		k.nearly <- struct{}{}
	}
}

// passes copies the log until few pages are left, with at most maxPasses passes.
func (k *checkpointer) passes() error {
	c, err := db.Open(k.database.Name(), db.ReaderCacheKiB)
	if err != nil {
		return err
	}
	defer c.Close()
	for range maxPasses {
		log, err := k.pass(c)
		if err != nil || log.Pages-log.Done <= fewPages {
			return err
		}
	}
	return nil
}

// pass copies what the log has by now into the database, and syncs that.
func (k *checkpointer) pass(c *db.Conn) (db.Log, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	log, err := k.checkpoint(c, "PASSIVE")
	if err != nil {
		return log, err
	}
	// SQLite syncs the database only once it has copied the whole log. The engine would
	// then have to wait for the whole sync.
	if err := unix.Fdatasync(int(k.database.Fd())); err != nil {
		k.syncFailed(err)
		return log, err
	}
	return log, nil
}

// checkpoint runs a checkpoint. If a sync has failed it returns storage.ErrReadOnly
// instead. The caller holds mu.
func (k *checkpointer) checkpoint(c *db.Conn, mode string) (db.Log, error) {
	if k.health.unsynced.Load() {
		return db.Log{}, storage.ErrReadOnly
	}
	log, err := c.Checkpoint(mode)
	var failed sqlite3.Error
	if errors.As(err, &failed) && failed.ExtendedCode == sqlite3.ErrIoErrFsync {
		k.syncFailed(err)
	}
	return log, err
}

// syncFailed prevents all further checkpoints. SQLite's last connection would run one when
// it is closed, and then remove the log. For that it needs an exclusive lock on the octets
// that SHARED_FIRST and SHARED_SIZE name in its source, so syncFailed takes a shared lock
// on them.
func (k *checkpointer) syncFailed(err error) {
	lock := unix.Flock_t{Type: unix.F_RDLCK, Start: 1<<30 + 2, Len: 510}
	locked := unix.FcntlFlock(k.database.Fd(), unix.F_OFD_SETLK, &lock)
	k.health.syncFailed(errors.Join(err, locked))
}

// tendLog runs after each batch. It starts the checkpointer when the log has become long,
// and finishes a checkpoint whose passes are done.
func (e *Engine) tendLog() {
	k := e.checkpointer
	if k == nil || e.conn == nil {
		return
	}
	log, err := e.conn.Checkpoint("NOOP")
	if err != nil {
		return // the next batch will meet the error too
	}
	k.watch(log)
	if log.Pages >= k.most {
		if e.checkpoint(); e.conn == nil {
			return
		}
	}
	if k.active {
		select {
		case <-k.nearly:
			k.active = false
			e.restartLog()
		default:
		}
		return
	}
	if log.Pages < k.begun {
		k.begun = 0 // the log was restarted
	}
	if log.Pages-k.begun >= k.pages {
		k.begun, k.active = log.Pages, true
		k.wanted <- struct{}{}
	}
}

// watch logs once that the log has been longer than it should be for tellAfter, and names
// a process that reads from it. While anybody reads from the log it cannot restart.
func (k *checkpointer) watch(log db.Log) {
	switch {
	case log.Pages < k.most:
		k.long, k.told = time.Time{}, false
	case k.long.IsZero():
		k.long = time.Now()
	case !k.told && time.Since(k.long) >= k.tellAfter:
		k.told = true
		k.logger.Warn(logs.Storage, logs.Reason, "the write-ahead log grows and cannot begin anew while somebody reads: "+named(k.holders.Reader(), "this process, or one that cannot be named,")+" is in a reading transaction",
			logs.Octets, log.Pages*db.PageSize, logs.Duration, time.Since(k.long).Round(time.Second).String())
	}
}

// restartLog copies the rest of the log and makes the next batch restart it, unless
// somebody reads from it for longer than patience, as a backup does.
func (e *Engine) restartLog() {
	e.checkpointer.mu.Lock()
	defer e.checkpointer.mu.Unlock()
	e.conn.Script(fmt.Sprintf("PRAGMA busy_timeout = %d", patience.Milliseconds()))
	_, err := e.checkpointer.checkpoint(e.conn, "RESTART")
	e.poll()
	e.checkpointed(err)
}

// checkpoint copies the write-ahead log into the database, as far as there is room, so
// that the log can restart. No transaction may be open.
func (e *Engine) checkpoint() {
	if e.conn == nil {
		return
	}
	run := e.conn.Checkpoint
	if k := e.checkpointer; k != nil {
		k.mu.Lock()
		defer k.mu.Unlock()
		run = func(mode string) (db.Log, error) { return k.checkpoint(e.conn, mode) }
	}
	_, err := run("PASSIVE")
	e.checkpointed(err)
}

// checkpointed handles the error of a checkpoint. A full disk is handled elsewhere.
func (e *Engine) checkpointed(err error) {
	if err != nil && !db.IsFull(err) && !e.unsynced() {
		e.logger.Warn(logs.Storage, logs.Reason, "checkpoint", logs.Error, err)
		e.diskFailed(err)
	}
}

// unsynced reports whether a sync of the database has failed.
func (e *Engine) unsynced() bool { return e.health.unsynced.Load() }
