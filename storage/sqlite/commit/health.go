package commit

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mattn/go-sqlite3"

	"mailsrv/internal/logs"
	"mailsrv/storage"
	"mailsrv/storage/sqlite/db"
)

// Condition is the condition of a store. If several hold, the gravest counts.
type Condition int

// The conditions, the gravest last.
const (
	Well     Condition = iota
	Hampered           // some upkeep has met damage, and is left undone
	Full               // too little of the disk is free: no mail is accepted
	ReadOnly           // the disk failed three times in a minute: nothing is written until a restart
	Unsynced           // a sync of the database failed: as ReadOnly, and the server must end
)

// Health knows the [Condition] of a store. All methods are safe for concurrent use.
type Health struct {
	space  *Space
	logger *slog.Logger

	readOnly atomic.Bool
	unsynced atomic.Bool
	failed   chan struct{} // closed when unsynced becomes true

	mu       sync.Mutex
	failures []time.Time // failures of the disk in the last minute
	works    []*Work
}

// NewHealth returns the health of a store of which no failure is known yet.
func NewHealth(space *Space, logger *slog.Logger) *Health {
	return &Health{space: space, logger: logger, failed: make(chan struct{})}
}

// Condition returns the gravest condition that holds.
func (h *Health) Condition() Condition {
	switch {
	case h.unsynced.Load():
		return Unsynced
	case h.readOnly.Load():
		return ReadOnly
	case h.space.Check() != nil:
		return Full
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range h.works {
		if w.Stopped() {
			return Hampered
		}
	}
	return Well
}

// Writable returns nil, or [storage.ErrReadOnly] if nothing is written until a restart.
func (h *Health) Writable() error {
	if h.readOnly.Load() || h.unsynced.Load() {
		return storage.ErrReadOnly
	}
	return nil
}

// Accepting returns nil while mail is accepted, else [storage.ErrReadOnly] or
// [storage.ErrNoSpace].
func (h *Health) Accepting() error {
	switch h.Condition() {
	case ReadOnly, Unsynced:
		return storage.ErrReadOnly
	case Full:
		return storage.ErrNoSpace
	}
	return nil
}

// Failed returns a channel that is closed when a sync of the database has failed. What is
// read after that may be older than what was committed.
func (h *Health) Failed() <-chan struct{} { return h.failed }

// GiveUpWriting makes the store read-only until a restart, because of err. Only the first
// call logs it.
func (h *Health) GiveUpWriting(err error) {
	if !h.readOnly.Swap(true) {
		h.logger.Error(logs.Storage, logs.Reason, storage.ErrReadOnly.Error(), logs.Error, err)
	}
}

// diskFailed notes a failure of the disk. The third within a minute makes the store
// read-only: no more mail is entrusted to a disk that keeps failing.
func (h *Health) diskFailed(err error) {
	h.mu.Lock()
	now := time.Now()
	recent := h.failures[:0]
	for _, t := range h.failures {
		if now.Sub(t) < time.Minute {
			recent = append(recent, t)
		}
	}
	h.failures = append(recent, now)
	many := len(h.failures) >= 3
	h.mu.Unlock()
	if many {
		h.GiveUpWriting(err)
	}
}

// syncFailed notes that a sync of the database failed: what is in it may not be on the
// disk. Only the first call logs it.
func (h *Health) syncFailed(err error) {
	if !h.unsynced.Swap(true) {
		h.logger.Error(logs.Storage, logs.Reason, "the disk has failed to sync the database: nothing is lost, and nothing is written until a restart, which brings all mail in from the write-ahead log once more", logs.Error, err)
		close(h.failed)
	}
}

// explain turns SQLite's errors into those of package storage.
func (h *Health) explain(err error) error {
	switch {
	case h.Writable() != nil:
		return storage.ErrReadOnly
	case db.IsFull(err):
		return errors.Join(storage.ErrNoSpace, err)
	}
	return db.Named(err)
}

// isDiskFailure reports whether err says that the disk has failed, or that its content is
// damaged.
func isDiskFailure(err error) bool {
	return db.Is(err, sqlite3.ErrIoErr) || db.Is(err, sqlite3.ErrCorrupt) || db.Is(err, sqlite3.ErrNotADB)
}

// Work is one kind of upkeep. Damage stops it for good, since it would meet the same page
// again. All methods are safe for concurrent use.
type Work struct {
	health  *Health
	effect  string
	stopped atomic.Bool
}

// NewWork adds a [Work] to the health. effect is the text that is logged when damage stops
// it: what follows when the work is left undone.
func (h *Health) NewWork(effect string) *Work {
	w := &Work{health: h, effect: effect}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.works = append(h.works, w)
	return w
}

// Stopped reports whether the work has met damage.
func (w *Work) Stopped() bool { return w.stopped.Load() }

// Met returns err. If err is damage it stops the work, and the first time logs what
// follows from that.
func (w *Work) Met(err error) error {
	if db.IsDamage(err) && !w.stopped.Swap(true) {
		w.health.logger.Error(logs.Storage, logs.Reason, w.effect, logs.Error, db.Named(err))
	}
	return err
}
