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

// Condition is how well a store is. Of several that hold, the gravest counts.
type Condition int

// The conditions, the gravest last.
const (
	Well     Condition = iota
	Hampered           // some work at a rest has met damage, and is left undone
	Full               // too little of the disk is free: no mail is taken
	ReadOnly           // the disk failed thrice in a minute: nothing is written until a restart
	Unsynced           // a sync of the database failed: as ReadOnly, and the server must end
)

// Health is the condition of a store, and what it is made of. It is safe for
// concurrent use.
type Health struct {
	space  *Space
	logger *slog.Logger

	readOnly atomic.Bool
	unsynced atomic.Bool
	failed   chan struct{} // closed when unsynced

	mu       sync.Mutex
	failures []time.Time // of the disk, the last minute's
	works    []*Work
}

// NewHealth is the health of a store that nothing is known against.
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

// Writable returns nil, or storage.ErrReadOnly where nothing is written until a restart.
func (h *Health) Writable() error {
	if h.readOnly.Load() || h.unsynced.Load() {
		return storage.ErrReadOnly
	}
	return nil
}

// Accepting returns nil while mail may be taken, else storage.ErrReadOnly or ErrNoSpace.
func (h *Health) Accepting() error {
	if err := h.Writable(); err != nil {
		return err
	}
	return h.space.Check()
}

// Failed is closed when a sync of the database has failed. What is read since may be of
// another moment.
func (h *Health) Failed() <-chan struct{} { return h.failed }

// GiveUpWriting makes the store read-only because of an error. It is logged once.
func (h *Health) GiveUpWriting(err error) {
	if !h.readOnly.Swap(true) {
		h.logger.Error(logs.Storage, logs.Reason, storage.ErrReadOnly.Error(), logs.Error, err)
	}
}

// diskFailed notes a failure of the disk. The third within a minute makes the store
// read-only: a disk that fails now and then must not be given more mail.
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

// syncFailed says once that what is in the database may not be on the disk.
func (h *Health) syncFailed(err error) {
	if !h.unsynced.Swap(true) {
		h.logger.Error(logs.Storage, logs.Reason, "the disk has failed to sync the database: nothing is lost, and nothing is written until a restart, which brings all mail in from the write-ahead log once more", logs.Error, err)
		close(h.failed)
	}
}

// explain turns what SQLite says into the contract's errors.
func (h *Health) explain(err error) error {
	switch {
	case h.Writable() != nil:
		return storage.ErrReadOnly
	case db.IsFull(err):
		return errors.Join(storage.ErrNoSpace, err)
	}
	return db.Named(err)
}

// isDiskFailure reports whether err says that the disk, or what it has kept, cannot be
// relied upon.
func isDiskFailure(err error) bool {
	return db.Is(err, sqlite3.ErrIoErr) || db.Is(err, sqlite3.ErrCorrupt) || db.Is(err, sqlite3.ErrNotADB)
}

// Work is some work at a rest that damage stops, since it would meet the same page
// again. It is safe for concurrent use.
type Work struct {
	health  *Health
	effect  string
	stopped atomic.Bool
}

// NewWork makes a work of which effect says what it means where it is left undone.
func (h *Health) NewWork(effect string) *Work {
	w := &Work{health: h, effect: effect}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.works = append(h.works, w)
	return w
}

// Stopped reports whether the work has met damage.
func (w *Work) Stopped() bool { return w.stopped.Load() }

// Met returns err. Where that is damage it stops the work, and says once what this means.
func (w *Work) Met(err error) error {
	if db.IsDamage(err) && !w.stopped.Swap(true) {
		w.health.logger.Error(logs.Storage, logs.Reason, w.effect, logs.Error, db.Named(err))
	}
	return err
}
