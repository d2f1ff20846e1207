// Package storage is the contract of the message store: what delivery adds,
// what POP3 reads and expunges. It holds no driver and no SQL; storage/sqlite
// implements it, and storage/storagetest is the suite every backend passes. It is
// cut by who uses it: what adds mail is a Deliverer, what reads it Maildrops, who
// holds a maildrop says Claims, what removes it in time a Collector.
//
// A mailbox has folders. INBOX is its maildrop, which POP3 shows; usage is that of
// all its folders. What is known of one message in one folder is an Entry.
//
// What always holds: a nil error from Deliver or Update means that the change
// is durable; before that nothing of it is visible. Usage changes in the same
// transaction as the rows it counts. The octets of a message are exact: what
// Entry.Octets says is what Message yields. Errors say what is wrong; what an
// operator does about it, the command line says.
package storage

import (
	"context"
	"fmt"
	"strings"
	"time"

	"mailsrv/internal/mail"
	"mailsrv/quota"
)

// Body collects the content of one message before its commit. It is used by
// one goroutine.
type Body interface {
	// Write adds content. Its errors: ErrNoSpace, ErrStagedFull, ErrNoMemory,
	// the context's of NewBody, or an unexpected one.
	Write(p []byte) (int, error)
	// Octets is what has been written.
	Octets() int64
	// Discard frees what the body holds, in memory and on disk. It must be
	// called once the body is no longer needed, and after Deliver does nothing
	// to what was delivered.
	Discard()
}

// Delivery is one message on its way into folders. In a folder it reads as
// ReturnPath, Trace, the recipient's Own, then Body. None of that changes later.
type Delivery struct {
	ID string // 1 to 70 characters 0x21-0x7E; the UIDL where a recipient has none
	// ReturnPath is the field that stands in folders alone, with its CRLF: a copy that
	// goes elsewhere has none (RFC 5321 section 4.4). "": no field.
	ReturnPath string
	Trace      string    // fields that all copies share, with their CRLFs
	Arrived    time.Time // in seconds; zero: at the commit
	Body       Body
	To         []Recipient // each pair of mailbox and folder once
	Limit      quota.Limit // the server's, which fills what mailbox and domain inherit
}

// Octets is the exact size of the message in r's folder.
func (d *Delivery) Octets(r Recipient) int64 {
	return int64(len(d.ReturnPath)) + int64(len(d.Trace)) + int64(len(r.Own)) + d.Body.Octets()
}

// Recipient is one folder of a delivery.
type Recipient struct {
	Mailbox mail.MailboxID
	Folder  FolderID  // zero: INBOX
	Own     string    // fields that only this recipient sees, with their CRLFs
	UIDL    string    // "": the delivery's ID
	UID     UID       // zero: the next; otherwise above all that the folder has given
	Arrived time.Time // zero: the delivery's
	Flags   Flags
}

// Receipt says where a delivery went: in the order of Delivery.To.
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

// Deliverer is what adds mail. All methods are safe for concurrent use.
type Deliverer interface {
	// Accepting returns nil while mail may be taken, else ErrNoSpace or ErrReadOnly.
	// It answers from memory, or nearly so: it may be asked for each message.
	Accepting() error

	// NewBody begins to collect a message. size is what its sender promises in
	// octets, 0 if unknown; nothing is to be lent on it alone. The context ends
	// waiting for memory and for staging. ErrNoMemory.
	NewBody(ctx context.Context, size int64) (Body, error)

	// Deliver commits one message to every recipient or to none, and returns
	// after the commit. A context that ends takes the delivery back only while
	// it is still waiting. Errors: *MisfitError, ErrNoFolder, ErrFolderEnded, ErrUID,
	// ErrNoSpace, ErrReadOnly, the context's, or an unexpected one.
	Deliver(ctx context.Context, d *Delivery) (Receipt, error)
}

// Collector removes what its time has come for. All methods are safe for concurrent use.
type Collector interface {
	// Collect removes what each mailbox's Retention says is due at now: messages
	// retrieved long enough ago, which it reports, and deleted ones that can no
	// longer be brought back.
	Collect(ctx context.Context, now time.Time, report func(Expired)) error
}

// Expired is a message that was removed since its time was over.
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
	// Aside returns what a mailbox has aside, 0: what each has. One that has nothing is
	// not among them.
	Aside(ctx context.Context, of mail.MailboxID) (map[mail.MailboxID]quota.Usage, error)

	// Undelete appends what was deleted from a mailbox since that time as new
	// mail, each under a fresh UIDL from newID, in the order of deletion and as far
	// as the quota allows: into its folder, else into INBOX, with the time of arrival
	// and the flags it had. It returns what came back and what is still aside.
	// ErrNoMaildrop.
	Undelete(ctx context.Context, id mail.MailboxID, since time.Time, limit quota.Limit, newID func() string) (restored, left quota.Usage, err error)
}
