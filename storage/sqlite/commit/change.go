package commit

import (
	"fmt"
	"sync/atomic"

	"mailsrv/storage/sqlite/db"
)

// Change is one change of the database. It is used once.
type Change struct {
	Effect Effect
	// Apply changes rows inside a transaction that other changes share. It may run
	// more than once, each time after a rollback. An error rolls the transaction back.
	Apply func(c *db.Conn) error
	// Refusal is set by Apply when it refuses the change. Apply has then changed no row.
	Refusal error
	// Committed is called on the engine's goroutine after the commit and before the
	// caller gets the outcome, but not for a refused change. It brings the cache of the
	// rows up to date. nil: there is nothing to do.
	Committed func()

	state atomic.Int32
	done  chan error
}

// Effect declares what a change is for and how much it brings. It decides when the engine
// takes the change, and whether the change may use the reserve.
type Effect struct {
	Kind   Kind
	Octets int64 // octets of content that it brings; only with Add and Stage
	Rows   int64 // rows that it adds, each of which may write a page; only with Add
}

// Kind is the kind of a change.
type Kind int

// The kinds of changes.
const (
	Edit    Kind = iota + 1 // anything else, such as a command
	Add                     // adds mail
	Stage                   // adds content of an unfinished transfer: waits for all others
	Remove                  // frees space: may use the reserve
	Abandon                 // a Remove that nobody waits for: if it fails it is tried again later
)

// check returns an error if the declaration contradicts itself.
func (e Effect) check() error {
	brings := e.Kind == Add || e.Kind == Stage
	switch {
	case e.Kind < Edit || e.Kind > Abandon:
		return fmt.Errorf("a change declares no kind: %+v", e)
	case e.Octets < 0 || e.Rows < 0 || e.Octets > 0 && !brings || e.Rows > 0 && e.Kind != Add:
		return fmt.Errorf("a change declares what its kind does not bring: %+v", e)
	case e.Kind == Stage && e.Octets == 0:
		return fmt.Errorf("a change stages nothing: %+v", e)
	}
	return nil
}

// frees reports whether a change of the kind may use the reserve, which is for removing
// mail.
func (k Kind) frees() bool { return k == Remove || k == Abandon }

// The states of a change.
const (
	waiting int32 = iota
	taken
	withdrawn
)
