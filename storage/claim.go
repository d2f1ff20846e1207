package storage

import (
	"context"
	"time"

	"mailsrv/internal/mail"
)

// Claims says who holds a maildrop: one POP3 session (RFC 1939 section 4), of all the
// servers of a store. All methods are safe for concurrent use.
type Claims interface {
	// Claim takes a maildrop for a session that is at work. It waits for one that
	// another session holds as long as the claimant's patience lasts, within one
	// server in order of arrival. ErrInUse where another session still has a right to
	// it, or too many wait, or the client has gone; the context's error.
	Claim(ctx context.Context, id mail.MailboxID, c Claimant) (Claim, error)
}

// Claimant is a session that wants a maildrop. Its functions are called from other
// goroutines and must not block; nil is never.
type Claimant struct {
	Patience time.Duration // how long it waits; 0: not at all
	// Gone reports that its client has hung up. It is asked while the session waits.
	Gone func() bool
	// Busy reports that its client has not got all yet of what it was sent: the
	// session is then not silent. It is asked when another one wants the maildrop.
	Busy func() bool
}

// Claim is one session's hold on a maildrop. It is used by one goroutine.
type Claim interface {
	// Yield says that the session falls silent: from then on another one may take the
	// maildrop.
	Yield(from time.Time)
	// Hold says that the session goes on. nil: the maildrop is still its own, until
	// the next Yield. ErrTaken: it is another's, or was released.
	Hold(ctx context.Context) error
	// Release gives the maildrop to who waits first for it, or free. It does nothing
	// where another session has taken it.
	Release()
}
