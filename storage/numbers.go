package storage

import "math"

// FolderID names a folder for good: it is never given to another, and says nothing
// of the mailbox's id.
type FolderID int64

// UID is a message's number in its folder (RFC 9051 section 2.3.1.1): from 1,
// ascending in the order of commits, never given twice while the folder keeps its
// validity. Holes are allowed.
type UID uint32

// MaxUID is the last uid that a folder gives.
const MaxUID UID = math.MaxUint32

// ModSeq counts the commits that add, remove or flag messages of a folder, from 1
// (RFC 7162 section 3.1).
type ModSeq uint64

// Flags are bits that IMAP's sessions set (RFC 9051 section 2.3.2). That POP3
// retrieved a message is not among them.
type Flags uint64

// The system flags.
const (
	Seen Flags = 1 << iota
	Answered
	Flagged
	Deleted
	Draft
)
