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
	// twice, the second time alone. An error rolls the transaction back.
	Apply func(c *db.Conn) error
	// Refusal is set by Apply where it has left every row as it was, and says why.
	Refusal error
	// Committed is called on the engine's goroutine when the change is on the disk,
	// before anybody hears of it, and not where it was refused. It brings what is
	// cached of the rows up to date.
	Committed func()

	state atomic.Int32
	done  chan error
}

// Effect is what a change does beside its rows. It is declared when the change is
// added, and decides how it waits and what is done for it.
type Effect struct {
	Kind   Kind
	Octets int64 // of content that it brings: of Add and Stage alone
	Rows   int64 // that it adds and that may each write a page: of Add alone
}

// Kind is what a change is for.
type Kind int

// The kinds of changes.
const (
	Edit    Kind = iota + 1 // anything else, such as a command
	Add                     // adds mail
	Stage                   // adds content that is no mail yet: waits for all others
	Remove                  // frees space: may use what is reserved for that
	Abandon                 // a Remove that nobody waits for: what fails is tried again later
)

// check returns what is wrong with a declaration.
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

// frees reports whether a change of the kind may use the space that is reserved for
// removing mail.
func (k Kind) frees() bool { return k == Remove || k == Abandon }

// The states of a change.
const (
	waiting int32 = iota
	taken
	withdrawn
)
