package storage

import (
	"context"

	"mailsrv/internal/mail"
	"mailsrv/quota"
)

// Maildrops opens maildrops for reading and for removing mail. All methods are safe for
// concurrent use.
type Maildrops interface {
	// OpenMaildrop takes a snapshot of a mailbox's INBOX as it is committed now. It
	// takes no lock and no claim. Errors: ErrNoMaildrop, or an unexpected one.
	OpenMaildrop(ctx context.Context, id mail.MailboxID) (Maildrop, error)
}

// Maildrop is one session's snapshot of the messages of a mailbox. It is not safe for
// concurrent use. It holds no resource between calls and need not be closed.
type Maildrop interface {
	// Usage returns the messages and octets of the snapshot.
	Usage() quota.Usage

	// Entries returns at most most messages of the snapshot, in ascending order of
	// their uids, beginning with the first uid that is not below from. most is above 0.
	// Fewer than most messages mean that there are no more. Messages that others have
	// removed since the snapshot may be missing.
	Entries(ctx context.Context, from UID, most int) ([]Entry, error)

	// Details is as Entries, with all that is known of each message.
	Details(ctx context.Context, from UID, most int) ([]Detail, error)

	// Message opens a message of this maildrop for reading from the octet at the offset
	// from, and verifies the first piece. It reserves memory by e.Octets. The caller
	// closes the message. Errors: ErrGone, ErrDamaged, ErrNoMemory, the context's, or an
	// unexpected one.
	Message(ctx context.Context, e Entry, from int64) (Message, error)

	// Update makes the whole change or nothing of it, in one transaction, and returns
	// the usage that it removed. Messages that are gone already are skipped. Messages
	// that the mailbox's Retention.Deleted keeps are put aside, outside the usage.
	//
	// claim is the session's claim on this maildrop; Update holds it, until the next
	// Yield. ErrTaken: it was taken or released, and nothing was changed. nil is for
	// callers that need no claim: the administrator, and every protocol but POP3.
	Update(ctx context.Context, claim Claim, c Change) (quota.Usage, error)
}

// Change is what one transaction changes in a maildrop. It names messages of the
// snapshot, in any order.
type Change struct {
	Expunge   []UID // to be removed
	Retrieved []UID // to be kept, and noted as retrieved by POP3
}

// Entry is what POP3 shows of a message. A session keeps one for each message, so it is
// small.
type Entry struct {
	UID    UID
	Octets int64  // exact size, trace fields and CRLFs included
	UIDL   string // unique in its folder
}

// Detail is all that is known of one message in one folder.
type Detail struct {
	Entry
	Arrived int64 // Unix seconds
	Flags   Flags
	ModSeq  ModSeq // of the commit that added it or changed its flags last
}

// Message yields the octets of a message piece by piece. No transaction is
// open between two pieces. It is not safe for concurrent use.
type Message interface {
	// Next returns the next piece, which is valid until the following call. io.EOF
	// comes once the octets up to Entry.Octets have been returned. Other errors: ErrGone,
	// ErrDamaged, the context's, or an unexpected one.
	Next(ctx context.Context) ([]byte, error)
	// Close gives the memory back. It may be called more than once.
	Close()
}

// perPiece is how many entries AllEntries reads at a time: 2 MiB of them, so that only
// very large maildrops take more than one piece.
const perPiece = 64 << 10

// AllEntries returns all entries of a maildrop's snapshot.
func AllEntries(ctx context.Context, m Maildrop) ([]Entry, error) {
	all, err := m.Entries(ctx, 0, perPiece)
	if err != nil || len(all) < perPiece {
		return all, err
	}
	all = append(make([]Entry, 0, max(m.Usage().Messages, perPiece)), all...)
	for last := all[perPiece-1].UID; last < MaxUID; {
		piece, err := m.Entries(ctx, last+1, perPiece)
		if err != nil {
			return nil, err
		}
		all = append(all, piece...)
		if len(piece) < perPiece {
			break
		}
		last = piece[perPiece-1].UID
	}
	return all, nil
}

// UIDs returns the uids of entries.
func UIDs(entries []Entry) []UID {
	uids := make([]UID, len(entries))
	for i, e := range entries {
		uids[i] = e.UID
	}
	return uids
}
