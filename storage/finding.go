package storage

import "context"

// Checker recounts what a store keeps beside its rows.
type Checker interface {
	// Check compares counters, indexes, checksums and references with the rows
	// and reports each finding. With repair it mends what can be mended, which it
	// reports too, and which needs the store to itself. It returns how many findings
	// remain.
	Check(ctx context.Context, repair bool, report func(Finding)) (remaining int, err error)
}

// Finding is something that does not agree in a store, or that a repair did about it.
type Finding struct {
	Text   string // what it is and whose: one line, without what to do
	Remedy Remedy
	Mended bool // it was so, and is no more
}

// String is the text, with what became of it.
func (f Finding) String() string {
	if f.Mended {
		return "mended: " + f.Text
	}
	return f.Text
}

// Remedy is what helps against a finding.
type Remedy int

// The remedies.
const (
	NoRemedy      Remedy = iota // nothing is to be done
	Repair                      // a Check that repairs
	Rebuild                     // laying the database out anew saves what can be read; a backup has all
	Restore                     // only a backup has it
	RestoreOrMake               // a backup has it; without one it is made by hand
	RemoveMessage               // a backup has it; without one the message is to be given up
	RemoveCopies                // all messages of the same UIDL but one are to be removed
	RemoveOne                   // of two that share an address one is to be removed
	RemoveTarget                // the target is to be removed from the alias
	NewMailbox                  // the mail is to be moved to a new mailbox, which then gets the address
	SetDomain                   // the domain's settings are to be made again
	SetMailbox                  // the mailbox's password and settings are to be made again
	ReadMail                    // the mail shows for whom it was
)
