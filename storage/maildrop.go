package storage

import (
	"context"

	"mailsrv/internal/mail"
	"mailsrv/quota"
)

// Maildrops is what reads mail and removes it. All methods are safe for concurrent use.
type Maildrops interface {
	// OpenMaildrop takes the snapshot of INBOX that a session works on: what had been
	// committed by then. It locks nothing. ErrNoMaildrop.
	OpenMaildrop(ctx context.Context, id mail.MailboxID) (Maildrop, error)
}

// Maildrop is one session's view of the messages waiting for a mailbox. It is
// used by one goroutine and holds no resource between calls.
type Maildrop interface {
	// Usage is the snapshot's count and octets.
	Usage() quota.Usage

	// Entries returns messages of the snapshot in the order of their uids, from
	// that uid on, and no more of them than most, which is above 0. Fewer than most are
	// the last. What others removed since the snapshot may be missing.
	Entries(ctx context.Context, from UID, most int) ([]Entry, error)

	// Details is Entries with all that is known of each.
	Details(ctx context.Context, from UID, most int) ([]Detail, error)

	// Message opens one message, an entry of this maildrop, from an octet on, counted
	// from 0, and verifies what it reads first. The entry says how many octets of memory
	// that takes. ErrGone, ErrDamaged, ErrNoMemory.
	Message(ctx context.Context, e Entry, from int64) (Message, error)

	// Update makes a change in one transaction, all of it or nothing, and returns what
	// it removed. What is gone already is let pass. What the mailbox's Retention lets
	// be undone is kept aside, outside the usage.
	//
	// claim is the session's on this maildrop. It is held from now on: where it is not
	// the session's any more nothing changes: ErrTaken. nil is for who needs no claim:
	// the administrator, and every protocol but POP3.
	Update(ctx context.Context, claim Claim, c Change) (quota.Usage, error)
}

// Change is what one transaction changes in a maildrop: messages of the snapshot, in
// any order.
type Change struct {
	Expunge   []UID // go
	Retrieved []UID // stay, and POP3 has retrieved them
}

// Entry is what POP3 shows of a message. A session holds one for each, so it is kept
// small.
type Entry struct {
	UID    UID
	Octets int64
	UIDL   string // of one folder's messages each has another
}

// Detail is all that is known of one message in one folder.
type Detail struct {
	Entry
	Arrived int64 // Unix seconds
	Flags   Flags
	ModSeq  ModSeq // when it was added or flagged
}

// Message yields the octets of a message piece by piece. No transaction is
// open between two pieces.
type Message interface {
	// Next returns the next piece, valid until the following call, or io.EOF
	// after exactly Entry.Octets octets, counted from the message's beginning. ErrGone
	// or ErrDamaged in the middle.
	Next(ctx context.Context) ([]byte, error)
	// Close gives the buffers back.
	Close()
}

// perPiece is how many entries are read at a time where all are wanted: 2 MiB of them,
// so that the few very large maildrops alone come in several.
const perPiece = 64 << 10

// AllEntries returns the entries of a maildrop's snapshot.
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
