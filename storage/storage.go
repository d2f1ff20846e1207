// Package storage is the contract of the message store. It has no driver and no SQL:
// storage/sqlite and storage/memory implement it, and storage/storagetest is the suite
// that every backend passes.
//
// Each interface is what one kind of caller needs: [Deliverer] adds mail, [Maildrops]
// reads and removes it, [Claims] gives a maildrop to one session at a time, [Collector]
// removes mail whose time is over, [Undeleter] brings deleted mail back, [Checker]
// compares the counters with the rows.
//
// A mailbox has folders. INBOX is its maildrop, which POP3 shows. The usage of a mailbox
// is that of all its folders. An [Entry] is one message in one folder.
//
// What always holds: a nil error from Deliver or Update means that the change is
// durable. Before that nothing of it is visible. Usage changes in the same transaction
// as the rows it counts. Octets are exact: a [Message] yields as many as its Entry says.
// Errors say what is wrong; the command line says what to do about it.
package storage

import (
	"context"
	"fmt"
	"strings"
	"time"

	"mailsrv/internal/mail"
	"mailsrv/quota"
)

// Body collects the content of one message before its commit. It is not safe for
// concurrent use.
type Body interface {
	// Write adds content. Errors: ErrNoSpace, ErrStagedFull, ErrNoMemory, that of the
	// context given to NewBody, or an unexpected one.
	Write(p []byte) (int, error)
	// Octets returns the number of octets written.
	Octets() int64
	// Discard frees the memory and the staged content of the body, and leaves what was
	// delivered. It must be called once the body is no longer needed, and may be called
	// more than once.
	Discard()
}

// Delivery is one message on its way into folders. Its text in a folder is ReturnPath,
// Trace, the recipient's Own, then Body. None of that changes later.
type Delivery struct {
	ID string // 1 to 70 characters 0x21-0x7E; the UIDL of each recipient that has none
	// ReturnPath is the Return-Path field with its CRLF, or "". It is apart from Trace
	// since a copy that is relayed has none (RFC 5321 section 4.4).
	ReturnPath string
	Trace      string    // fields that all copies share, with their CRLFs
	Arrived    time.Time // kept in whole seconds; zero: the time of the commit
	Body       Body
	To         []Recipient // each pair of mailbox and folder once
	Limit      quota.Limit // the server's: applies where mailbox and domain inherit
}

// Octets returns the exact size of the message in r's folder.
func (d *Delivery) Octets(r Recipient) int64 {
	return int64(len(d.ReturnPath)) + int64(len(d.Trace)) + int64(len(r.Own)) + d.Body.Octets()
}

// Recipient is one folder of a delivery.
type Recipient struct {
	Mailbox mail.MailboxID
	Folder  FolderID  // zero: INBOX
	Own     string    // fields that only this recipient sees, with their CRLFs
	UIDL    string    // "": the delivery's ID
	UID     UID       // zero: the next; otherwise above all that the folder has assigned
	Arrived time.Time // zero: the delivery's
	Flags   Flags
}

// Receipt says where a delivery was placed, in the order of Delivery.To.
type Receipt struct{ Placed []Placed }

// Placed is one message in one folder.
type Placed struct {
	Mailbox mail.MailboxID
	Folder  FolderID
	UID     UID
}

// Misfit says why one recipient of a delivery could not be served.
type Misfit struct {
	Mailbox mail.MailboxID
	Reason  MisfitReason
}

// MisfitReason is why the commit could not serve a recipient.
type MisfitReason int

// The reasons.
const (
	MisfitFull     MisfitReason = iota // no room now: quota.Full
	MisfitTooLarge                     // larger than the whole limit: quota.TooLarge
	MisfitGone                         // the mailbox was removed
	MisfitDisabled                     // the mailbox was disabled
)

// MisfitError is returned by [Deliverer].Deliver when some recipients could not be
// served. Then nothing has been stored for any recipient.
type MisfitError struct{ Misfits []Misfit }

func (e *MisfitError) Error() string {
	names := [...]string{"full", "too large", "gone", "disabled"}
	var parts []string
	for _, m := range e.Misfits {
		parts = append(parts, fmt.Sprintf("maildrop %d: %s", m.Mailbox, names[m.Reason]))
	}
	return "not delivered: " + strings.Join(parts, ", ")
}

// Deliverer adds mail. All methods are safe for concurrent use.
type Deliverer interface {
	// Accepting returns nil while mail may be accepted, else ErrNoSpace or ErrReadOnly.
	// It is cheap enough to be called for each recipient.
	Accepting() error

	// NewBody begins to collect a message. size is the number of octets that its sender
	// declares, 0 if unknown; no memory is taken for a mere declaration. ctx ends waits
	// for memory and for staging, also those of Body.Write. The caller discards the
	// body. Errors: ErrNoSpace, ErrNoMemory, the context's, or an unexpected one.
	NewBody(ctx context.Context, size int64) (Body, error)

	// Deliver commits one message to every recipient or to none, and returns
	// after the commit. The end of ctx withdraws the delivery only while it waits for
	// its commit. Errors: *MisfitError, ErrNoFolder, ErrFolderEnded, ErrUID,
	// ErrNoSpace, ErrReadOnly, the context's, or an unexpected one.
	Deliver(ctx context.Context, d *Delivery) (Receipt, error)
}

// Collector removes mail whose time is over. All methods are safe for concurrent use.
type Collector interface {
	// Collect removes what each mailbox's Retention says is due at now: messages that
	// POP3 retrieved long enough ago, each of which it reports, and deleted messages
	// that can no longer be brought back.
	Collect(ctx context.Context, now time.Time, report func(Expired)) error
}

// Expired is a message that [Collector].Collect has removed.
type Expired struct {
	Mailbox mail.MailboxID
	Entry
}

// Undeleter brings deleted mail back, which is kept aside outside the usage for as long as
// the mailbox's Retention says. What a mailbox has aside is no more than its limit allows
// it to hold, nor more than the store's total, which bounds what all have together: the
// oldest goes first, and is logged. With the retention off nothing is aside. All methods
// are safe for concurrent use.
type Undeleter interface {
	// Aside returns the usage that a mailbox has aside, or with 0 that of each mailbox. One
	// that has nothing is not among them.
	Aside(ctx context.Context, of mail.MailboxID) (map[mail.MailboxID]quota.Usage, error)

	// Undelete brings back what was deleted from a mailbox at since or later, in the
	// order of deletion, up to the first message for which the quota has no room. Each
	// message goes into its former folder, or INBOX if that is gone. It gets a new uid
	// and a UIDL from newID, and keeps its time of arrival and its flags. limit is the
	// server's, as in Delivery. It returns the usage that came back and the usage that
	// is still aside. Errors: ErrNoMaildrop, or an unexpected one.
	Undelete(ctx context.Context, id mail.MailboxID, since time.Time, limit quota.Limit, newID func() string) (restored, left quota.Usage, err error)
}
