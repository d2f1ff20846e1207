package storage

import "math"

// FolderID identifies a folder in the whole store. It is never given to another folder.
// It is unrelated to the id of the mailbox.
type FolderID int64

// UID is a message's number in its folder (RFC 9051 section 2.3.1.1). Uids begin at 1,
// ascend in the order of commits, and are never given twice while the folder keeps its
// validity. Holes are allowed.
type UID uint32

// MaxUID is the last uid that a folder assigns; see [ErrFolderEnded].
const MaxUID UID = math.MaxUint32

// ModSeq numbers the commits that add, remove or flag messages of a folder, beginning
// with 1 (RFC 7162 section 3.1).
type ModSeq uint64

// Flags are bits that IMAP sessions set (RFC 9051 section 2.3.2). Whether POP3 has
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
