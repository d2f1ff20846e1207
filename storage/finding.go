package storage

import "context"

// Checker compares a store's counters with its rows.
type Checker interface {
	// Check compares counters, indexes, checksums and references with the rows
	// and reports each finding. With repair it also mends what can be mended, and
	// reports that; nothing else may use the store meanwhile. It returns the number of
	// findings that remain.
	Check(ctx context.Context, repair bool, report func(Finding)) (remaining int, err error)
}

// Finding is something that does not agree in a store, or that a repair has mended.
type Finding struct {
	Text   string // what is wrong, and in which mailbox: one line, without advice
	Remedy Remedy
	Mended bool // by this repair
}

// String returns the text, marked if the finding was mended.
func (f Finding) String() string {
	if f.Mended {
		return "mended: " + f.Text
	}
	return f.Text
}

// Remedy is what an operator can do about a [Finding].
type Remedy int

// The remedies.
const (
	NoRemedy      Remedy = iota // nothing needs to be done
	Repair                      // run Check with repair
	Rebuild                     // rebuild the database, which saves what can be read; a backup has all
	Restore                     // restore a backup: nothing else has it
	RestoreOrMake               // restore a backup, or make it again by hand
	RemoveMessage               // restore a backup, or remove the message
	RemoveCopies                // remove all messages with the same UIDL but one
	RemoveOne                   // remove one of the two that share an address
	RemoveTarget                // remove the target from the alias
	NewMailbox                  // move the mail to a new mailbox, and give that the address
	SetDomain                   // set the domain's limits, times and postmaster again
	SetMailbox                  // set the mailbox's password and settings again
	ReadMail                    // read the mail, which shows whose it is
)
