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

// checkpointer brings the write-ahead log into the database while the engine
// goes on: on the engine's own connection that would stop all mail for the
// tenth of a second that it takes. What is committed meanwhile is brought in by
// further passes, each shorter. The last few pages are the engine's, between
// two batches: only when nothing is added can the log begin anew in its place.
//
// Once a sync of the database has failed there are no more checkpoints. The kernel
// takes the pages for written, whatever became of them, and SQLite may count them as
// brought in: they are sure in the log alone, which must not begin anew. The next
// start brings all of it in once more.
type checkpointer struct {
	database *os.File // its name is that of the database
	pages    int64    // new ones in the log, of which there is reason to begin
	most     int64    // pages that the engine brings in itself
	health   *Health
	holders  *db.Holders
	logger   *slog.Logger

	mu sync.Mutex // one checkpoint at a time: SQLite would refuse the second

	// The engine's.
	begun     int64 // pages of the log when the last checkpoint began
	active    bool
	tellAfter time.Duration
	long      time.Time // since when the log is longer than it should be; zero: it is not
	told      bool      // who keeps it so

	wanted   chan struct{}
	nearly   chan struct{} // the rest is the engine's
	finished chan struct{}
}

const (
	fewPages  = 200 // that the engine can bring in between two batches
	maxPasses = 4
	patience  = 20 * time.Millisecond // of the engine with readers of the old log
	// tellReader is how long the log may be longer than it should be before it is said
	// who keeps it so. A backup of some GiB does.
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

// close ends the goroutine, after the pass at hand.
func (k *checkpointer) close() {
	close(k.wanted)
	<-k.finished
}

func (k *checkpointer) run() {
	defer close(k.finished)
	for range k.wanted {
		// What fails here the engine tries again, and knows what to make of it.
		if err := k.passes(); err != nil {
			k.logger.Debug(logs.Storage, logs.Reason, "checkpoint", logs.Error, err)
		}
		k.nearly <- struct{}{}
	}
}

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

// pass brings in what the log has by now.
func (k *checkpointer) pass(c *db.Conn) (db.Log, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	log, err := k.checkpoint(c, "PASSIVE")
	if err != nil {
		return log, err
	}
	// SQLite syncs the database only when it has brought in everything, which
	// would leave all of that to the engine.
	if err := unix.Fdatasync(int(k.database.Fd())); err != nil {
		k.syncFailed(err)
		return log, err
	}
	return log, nil
}

// checkpoint runs a checkpoint, unless a sync has failed. The caller holds mu.
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

// syncFailed ends all checkpoints, that of SQLite's last connection too, which would
// then remove the log: that asks for the database's shared lock for itself alone, as
// which it locks the octets of SHARED_FIRST and SHARED_SIZE in its source.
func (k *checkpointer) syncFailed(err error) {
	lock := unix.Flock_t{Type: unix.F_RDLCK, Start: 1<<30 + 2, Len: 510}
	locked := unix.FcntlFlock(k.database.Fd(), unix.F_OFD_SETLK, &lock)
	k.health.syncFailed(errors.Join(err, locked))
}

// tendLog is the engine's part, after a batch: it has the log brought into
// the database when that has become long, and ends what was begun.
func (e *Engine) tendLog() {
	k := e.checkpointer
	if k == nil || e.conn == nil {
		return
	}
	log, err := e.conn.Checkpoint("NOOP")
	if err != nil {
		return // the next batch meets it again
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
		k.begun = 0 // the log has begun anew
	}
	if log.Pages-k.begun >= k.pages {
		k.begun, k.active = log.Pages, true
		k.wanted <- struct{}{}
	}
}

// watch says once that the log has been longer than it should be for long, and who reads
// from it: it cannot begin anew meanwhile.
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

// restartLog brings in what is left of the log and makes the next batch begin it
// anew, unless somebody reads from it for long, such as a backup.
func (e *Engine) restartLog() {
	e.checkpointer.mu.Lock()
	defer e.checkpointer.mu.Unlock()
	e.conn.Script(fmt.Sprintf("PRAGMA busy_timeout = %d", patience.Milliseconds()))
	_, err := e.checkpointer.checkpoint(e.conn, "RESTART")
	e.poll()
	e.checkpointed(err)
}

// checkpoint brings the write-ahead log into the database, as far as there is
// room, so that it can be written anew in its place. No transaction is open.
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

func (e *Engine) checkpointed(err error) {
	if err != nil && !db.IsFull(err) && !e.unsynced() {
		e.logger.Warn(logs.Storage, logs.Reason, "checkpoint", logs.Error, err)
		e.diskFailed(err)
	}
}

// unsynced reports whether what is in the database may not be on the disk.
func (e *Engine) unsynced() bool { return e.health.unsynced.Load() }
