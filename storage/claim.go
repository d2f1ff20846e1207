package storage

import (
	"context"
	"time"

	"mailsrv/internal/mail"
)

// Claims gives a maildrop to one POP3 session at a time (RFC 1939 section 4), among all
// the servers of a store. All methods are safe for concurrent use.
type Claims interface {
	// Claim takes a maildrop for a session, which then holds it as after Hold. While
	// another session holds it, Claim waits for at most c.Patience; those that wait in
	// one server get it in order of arrival.
	//
	// Errors: ErrInUse if another session still holds the maildrop when the wait is
	// over, too many sessions wait, or the client has hung up; the context's error.
	Claim(ctx context.Context, id mail.MailboxID, c Claimant) (Claim, error)
}

// Claimant is a session that wants a maildrop. Its functions are called from other
// goroutines and must not block. A nil function counts as one that returns false.
type Claimant struct {
	Patience time.Duration // how long it waits at most; 0: not at all
	// Gone reports that the client has hung up. It is called while the session waits.
	Gone func() bool
	// Busy reports that the client is still receiving what the session has sent: the
	// session keeps the maildrop then. It is called when another session wants it.
	Busy func() bool
}

// Claim is one session's hold on a maildrop. It must be released. It is not safe for
// concurrent use.
type Claim interface {
	// Yield is called before the session waits for its client. At the time from, and
	// later, another session may take the maildrop.
	Yield(from time.Time)
	// Hold is called before the session goes on. After nil no other session can take
	// the maildrop until the next Yield. ErrTaken: another session has taken it, or it
	// was released.
	Hold(ctx context.Context) error
	// Release ends the claim. The maildrop goes to the session that has waited longest
	// for it, if any. It does nothing if another session has taken the maildrop.
	Release()
}
