package storage

import (
	"errors"

	"mailsrv/internal/buffers"
)

// Errors of a store at work. Any other error is unexpected and means "try again
// later" to a peer.
var (
	// ErrNoSpace: less disk space than the configured minimum is free, or the disk was
	// full at a write.
	ErrNoSpace = errors.New("not enough free disk space")
	// ErrReadOnly: the disk failed repeatedly, or a sync failed. Nothing is written
	// until a restart.
	ErrReadOnly = errors.New("the store is read-only after I/O errors, until a restart")
	// ErrNoMemory: no buffer for a message came free within the pool's wait.
	ErrNoMemory = buffers.ErrExhausted
	// ErrStagedFull: unfinished transfers have staged as many octets as they may in
	// total.
	ErrStagedFull = errors.New("too much unfinished mail is being received")
	// ErrNoMaildrop: the mailbox was removed.
	ErrNoMaildrop = errors.New("no such maildrop")
	// ErrInUse: another session holds the maildrop.
	ErrInUse = errors.New("another session has the maildrop open")
	// ErrTaken: another session has taken the maildrop, or the claim was released.
	ErrTaken = errors.New("another session has taken the maildrop over")
	// ErrGone: the message was removed by expiry or the administrator since
	// the maildrop was opened.
	ErrGone = errors.New("message is gone")
	// ErrDamaged: the stored octets do not match their checksum.
	ErrDamaged = errors.New("the stored message is damaged")
	// ErrNoFolder: the mailbox has no folder with that id.
	ErrNoFolder = errors.New("no such folder")
	// ErrFolderEnded: the folder has assigned its last uid, MaxUID. It is a temporary
	// failure to a peer: an administrator has to move the mail to a new mailbox.
	ErrFolderEnded = errors.New("the folder has given all its uids")
	// ErrUID: the uid asked for is not above all that the folder has assigned.
	ErrUID = errors.New("the uid is not above those given before")
)

// Errors of opening, checking, repairing, backing up and restoring a store.
var (
	// ErrLocked: a server or a repair runs on the store.
	ErrLocked = errors.New("another mailsrv holds the data directory")
	// ErrOccupied: a repair or a restore wants to replace the database while a command
	// has it open, or the other way round.
	ErrOccupied = errors.New("a repair or a restore is at work, or a command beside it")
	// ErrUsed: a program that does not take our locks has the database open.
	ErrUsed = errors.New("another program has the database open")
	// ErrKept: the file or folder that a repair would write exists from an earlier one.
	ErrKept = errors.New("is there from an earlier repair")
	// ErrNewer: a later release wrote the store.
	ErrNewer = errors.New("the database was written by a newer mailsrv")
	// ErrEarly: a build before the first release wrote the store. There is no upgrade
	// from it.
	ErrEarly = errors.New("the database was written by a build before the first release, which nothing upgrades")
	// ErrForeign: the database is another program's.
	ErrForeign = errors.New("the file holds another program's database")
	// ErrCorrupt: a part of the database cannot be read, or required rows are missing. A
	// repair saves what can be read.
	ErrCorrupt = errors.New("the database is damaged")
	// ErrLost: the page that locates all others cannot be read. No repair helps.
	ErrLost = errors.New("the page is damaged that says where all others are")
	// ErrBackup: another backup is being written to the same file.
	ErrBackup = errors.New("another backup is writing this file")
	// ErrNotEmpty: a restore found a store in the data directory that it should fill.
	ErrNotEmpty = errors.New("the data directory holds mail already")
)
