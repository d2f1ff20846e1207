package commit

import (
	"fmt"
	"time"

	"github.com/mattn/go-sqlite3"

	"mailsrv/internal/logs"
	"mailsrv/storage"
	"mailsrv/storage/sqlite/db"
)

// busyLimit is how long the engine waits for another process to release the write lock.
const busyLimit = time.Minute

// pollLock is the time between two attempts of begin to take the write lock. SQLite's own
// wait sleeps up to 100 ms at a time, and other processes may take the lock meanwhile.
const pollLock = 2 * time.Millisecond

// tellLock is how long begin waits before it logs who holds the lock.
const tellLock = 5 * time.Second

// A process that is not a server, and has held the lock for leaveAfter in consecutive
// transactions, waits for leaveFor before the next one. A server that polls gets the lock
// in that time.
const (
	leaveAfter = 10 * time.Millisecond
	leaveFor   = 5 * time.Millisecond
)

// begin begins a transaction and takes the write lock. If another process (the command
// line) holds the lock, begin waits for up to busyLimit. Deliveries that cannot wait so
// long withdraw by themselves.
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
				e.renewLease() // the cache can be checked without the write lock
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

// named returns process, or otherwise if process is empty.
func named(process, otherwise string) string {
	if process == "" {
		return otherwise
	}
	return process
}

// poll sets the connection's busy timeout to pollLock: begin polls for the lock itself.
func (e *Engine) poll() {
	e.conn.Script(fmt.Sprintf("PRAGMA busy_timeout = %d", pollLock.Milliseconds()))
}

// leave waits for leaveFor if this process is not a server and has held the lock for
// leaveAfter in consecutive transactions.
func (e *Engine) leave() {
	if e.upkeep == nil && e.held >= leaveAfter {
		time.Sleep(leaveFor)
		e.held = 0
	}
}

// released notes that the write lock was released.
func (e *Engine) released() {
	if !e.since.IsZero() {
		e.held += time.Since(e.since)
		e.since = time.Time{}
	}
}
