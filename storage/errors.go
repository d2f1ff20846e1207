package storage

import (
	"errors"

	"mailsrv/internal/buffers"
)

// Errors of a store at work. Any other error is unexpected and means "try again
// later" to a peer.
var (
	// ErrNoSpace: less than the configured minimum is free, or a write met a
	// full disk.
	ErrNoSpace = errors.New("not enough free disk space")
	// ErrReadOnly: the disk failed repeatedly, or to sync what it has, and nothing is
	// written until a restart.
	ErrReadOnly = errors.New("the store is read-only after I/O errors, until a restart")
	// ErrNoMemory: no memory for a message within the wait.
	ErrNoMemory = buffers.ErrExhausted
	// ErrStagedFull: the total of content staged by unfinished transfers is
	// used up.
	ErrStagedFull = errors.New("too much unfinished mail is being received")
	// ErrNoMaildrop: the mailbox was removed.
	ErrNoMaildrop = errors.New("no such maildrop")
	// ErrInUse: another session holds the maildrop.
	ErrInUse = errors.New("another session has the maildrop open")
	// ErrTaken: the claim is another session's by now, or was released.
	ErrTaken = errors.New("another session has taken the maildrop over")
	// ErrGone: the message was removed by expiry or the administrator since
	// the maildrop was opened.
	ErrGone = errors.New("message is gone")
	// ErrDamaged: the stored octets do not match their checksum.
	ErrDamaged = errors.New("the stored message is damaged")
	// ErrNoFolder: the mailbox has no folder of that id.
	ErrNoFolder = errors.New("no such folder")
	// ErrFolderEnded: the folder has given its last uid, MaxUID. Temporary to a peer:
	// an administrator has to move the mail to a new mailbox.
	ErrFolderEnded = errors.New("the folder has given all its uids")
	// ErrUID: the uid asked for is not above those that the folder has given.
	ErrUID = errors.New("the uid is not above those given before")
)

// Errors of opening, checking, backing up and restoring a store, and of one that is
// damaged as a whole.
var (
	// ErrLocked: a server runs on the store, or a repair.
	ErrLocked = errors.New("another mailsrv holds the data directory")
	// ErrOccupied: a command has the database open while a repair wants to lay it out
	// anew or a restore to put it there, or the other way round.
	ErrOccupied = errors.New("a repair or a restore is at work, or a command beside it")
	// ErrUsed: a program that knows nothing of our locks uses the store.
	ErrUsed = errors.New("another program has the database open")
	// ErrKept: what an earlier repair kept aside stands where this one would put it.
	ErrKept = errors.New("is there from an earlier repair")
	// ErrNewer: a later release wrote the store.
	ErrNewer = errors.New("the database was written by a newer mailsrv")
	// ErrEarly: a build before the first release wrote the store, which nothing upgrades.
	ErrEarly = errors.New("the database was written by a build before the first release, which nothing upgrades")
	// ErrForeign: what is there is no store of ours.
	ErrForeign = errors.New("the file holds another program's database")
	// ErrCorrupt: a part of the database cannot be read, or rows that must be there are
	// missing. A repair saves what can be read.
	ErrCorrupt = errors.New("the database is damaged")
	// ErrLost: what says where all else is cannot be read. No repair helps.
	ErrLost = errors.New("the page is damaged that says where all others are")
	// ErrBackup: another backup is being written to the same file.
	ErrBackup = errors.New("another backup is writing this file")
	// ErrNotEmpty: a restore found a store where it should put one.
	ErrNotEmpty = errors.New("the data directory holds mail already")
)
