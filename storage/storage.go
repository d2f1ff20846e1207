// Package storage is the contract of the message store: what delivery adds,
// what POP3 reads and expunges. It holds no driver and no SQL; storage/sqlite
// implements it, and storage/storagetest is the suite every backend passes.
//
// What always holds: a nil error from Deliver or Expunge means that the change
// is durable; before that nothing of it is visible. Usage changes in the same
// transaction as the rows it counts. The octets of a message are exact: what
// Entry.Octets says is what Message yields.
package storage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"mailsrv/internal/mail"
	"mailsrv/quota"
)

// Errors of the store. Any other error is unexpected and means "try again
// later" to a peer.
var (
	// ErrNoSpace: less than the configured minimum is free, or a write met a
	// full disk.
	ErrNoSpace = errors.New("not enough free disk space")
	// ErrReadOnly: the disk failed repeatedly, or to sync what it has, and nothing is
	// written until a restart.
	ErrReadOnly = errors.New("the store is read-only after I/O errors; restart when the disk is sound")
	// ErrNoMaildrop: the mailbox was removed.
	ErrNoMaildrop = errors.New("no such maildrop")
	// ErrGone: the message was removed by expiry or the administrator since
	// the maildrop was opened.
	ErrGone = errors.New("message is gone")
	// ErrDamaged: the stored octets do not match their checksum.
	ErrDamaged = errors.New("the stored message is damaged; mailsrv check names all that are, a backup has it")
	// ErrStagedFull: the total of content staged by unfinished transfers is
	// used up.
	ErrStagedFull = errors.New("too much unfinished mail is being received")
)

// Body collects the content of one message before its commit. It is used by
// one goroutine.
type Body interface {
	// Write adds content. Its errors: ErrNoSpace, ErrStagedFull,
	// buffers.ErrExhausted, the context's of NewBody, or an unexpected one.
	Write(p []byte) (int, error)
	// Octets is what has been written.
	Octets() int64
	// Discard frees what the body holds, in memory and on disk. It must be
	// called once the body is no longer needed, and after Deliver does nothing
	// to what was delivered.
	Discard()
}

// Delivery is one message on its way into maildrops. A message reads as
// Prefix, then the recipient's Own, then Body.
type Delivery struct {
	ID     string // becomes the UIDL; 1 to 70 characters 0x21-0x7E
	Prefix string // trace field that all recipients share
	Body   Body
	To     []Recipient // each mailbox once
}

// Octets is the exact size of the message in r's maildrop.
func (d *Delivery) Octets(r Recipient) int64 {
	return int64(len(d.Prefix)) + int64(len(r.Own)) + d.Body.Octets()
}

// Recipient is one maildrop of a delivery.
type Recipient struct {
	Mailbox mail.MailboxID
	Own     string // trace field that only this recipient sees
}

// Misfit says why one recipient of a delivery could not be served.
type Misfit struct {
	Mailbox mail.MailboxID
	Reason  MisfitReason
}

// MisfitReason is a reason that the commit finds.
type MisfitReason int

// The reasons.
const (
	MisfitFull     MisfitReason = iota // quota.Full
	MisfitTooLarge                     // quota.TooLarge
	MisfitGone                         // the mailbox was removed
	MisfitDisabled                     // the mailbox was disabled
)

// MisfitError is returned by Deliver when some recipients could not be served.
// Nothing has been stored for any.
type MisfitError struct{ Misfits []Misfit }

func (e *MisfitError) Error() string {
	names := [...]string{"full", "too large", "gone", "disabled"}
	var parts []string
	for _, m := range e.Misfits {
		parts = append(parts, fmt.Sprintf("maildrop %d: %s", m.Mailbox, names[m.Reason]))
	}
	return "not delivered: " + strings.Join(parts, ", ")
}

// Store keeps maildrops. All methods may be called at once.
type Store interface {
	// NewBody begins to collect a message. size is what its sender promises in
	// octets, 0 if unknown; nothing is to be lent on it alone. The context ends
	// waiting for memory and for staging.
	NewBody(ctx context.Context, size int64) (Body, error)

	// Deliver commits one message to every recipient or to none, and returns
	// after the commit. limit is the server's, which fills what mailbox and
	// domain inherit. A context that ends takes the delivery back only while
	// it is still waiting. Errors: *MisfitError, ErrNoSpace, ErrReadOnly, the
	// context's, or an unexpected one.
	Deliver(ctx context.Context, d *Delivery, limit quota.Limit) error

	// Space returns ErrNoSpace or ErrReadOnly when no mail should be accepted.
	Space() error

	// Undelete appends what was deleted from a maildrop since that time as new
	// mail, each under a fresh id from newID, in the order of deletion and as far
	// as the quota allows. It returns what came back and what is still aside.
	Undelete(ctx context.Context, id mail.MailboxID, since time.Time, limit quota.Limit, newID func() string) (restored, left quota.Usage, err error)

	// Expire removes what each mailbox's Retention says is due at now: messages
	// retrieved long enough ago, which it reports, and deleted ones that can no
	// longer be brought back.
	Expire(ctx context.Context, now time.Time, report func(id mail.MailboxID, e Entry)) error

	// OpenMaildrop takes the snapshot that a session works on: what had been
	// committed by then. It locks nothing. ErrNoMaildrop.
	OpenMaildrop(ctx context.Context, id mail.MailboxID) (Maildrop, error)
}

// Maildrop is one session's view of the messages waiting for a mailbox. It is
// used by one goroutine and holds no resource between calls.
type Maildrop interface {
	// Usage is the snapshot's count and octets.
	Usage() quota.Usage

	// Entries returns the messages of the snapshot in the order of their
	// commits, reading them at the first call. The caller must not change them.
	// Messages removed by others between the snapshot and the first call may be
	// missing; Usage is then adjusted to what is returned.
	Entries(ctx context.Context) ([]Entry, error)

	// Message opens one message and verifies its beginning. ErrGone,
	// ErrDamaged.
	Message(ctx context.Context, e Entry) (Message, error)

	// Update removes the expunged messages and notes that others were
	// retrieved, in one transaction; those gone already are let pass. It returns
	// what was removed. What the mailbox's Retention lets be undone is kept
	// aside, outside the usage.
	Update(ctx context.Context, expunged, retrieved []Entry) (quota.Usage, error)
}

// Entry is one message in one maildrop.
type Entry struct {
	Sequence int64 // order of commits in the maildrop; never given twice
	Octets   int64
	UIDL     string
}

// Message yields the octets of a message piece by piece. No transaction is
// open between two pieces.
type Message interface {
	// Next returns the next piece, valid until the following call, or io.EOF
	// after exactly Entry.Octets octets. ErrGone or ErrDamaged in the middle.
	Next(ctx context.Context) ([]byte, error)
	// Close gives the buffers back.
	Close()
}

// Checker recounts what a store keeps beside its rows.
type Checker interface {
	// Check compares counters, indexes, checksums and references with the rows
	// and reports each finding as one line. With repair it mends what can be
	// mended, which needs the store to itself. It returns how many findings
	// remain.
	Check(ctx context.Context, repair bool, report func(finding string)) (remaining int, err error)
}
