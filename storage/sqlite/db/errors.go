package db

import (
	"errors"
	"fmt"
	"runtime"

	"mailsrv/storage"

	"github.com/mattn/go-sqlite3"
	"golang.org/x/sys/unix"
)

// Is reports whether err is SQLite's result code.
func Is(err error, code sqlite3.ErrNo) bool {
	var e sqlite3.Error
	return errors.As(err, &e) && e.Code == code
}

// IsFull reports whether err says that the disk is full, or the owner's share
// of it. Where SQLite cannot enlarge its index of the write-ahead log it speaks
// of an I/O error instead.
func IsFull(err error) bool {
	var e sqlite3.Error
	return errors.As(err, &e) && (e.Code == sqlite3.ErrFull || e.SystemErrno == unix.ENOSPC || e.SystemErrno == unix.EDQUOT || e.SystemErrno == unix.EFBIG)
}

// Named gives damage of the whole database the name that it has in the contract.
func Named(err error) error {
	switch {
	case IsDamage(err) && !errors.Is(err, storage.ErrCorrupt):
		return fmt.Errorf("%w: %w", storage.ErrCorrupt, err)
	case Is(err, sqlite3.ErrNotADB):
		return fmt.Errorf("%w, or %w", err, storage.ErrLost)
	}
	return err
}

// What damage leaves of rows where SQLite finds its pages sound.
var (
	ErrRow   = errors.New("a row is not as the schema has it") // such as a page holds that was overwritten with zeros
	ErrTwice = errors.New("a folder gave a uid twice")
)

// IsDamage reports whether err says that the database is damaged.
func IsDamage(err error) bool {
	return Is(err, sqlite3.ErrCorrupt) || errors.Is(err, ErrRow) || errors.Is(err, ErrTwice)
}

// Guarded returns what f does, and ErrRow when f asserts a type that a row does not
// have: all who scan rows rely on the schema.
func Guarded(f func() error) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case *runtime.TypeAssertionError:
			err = ErrRow
		default:
			panic(p)
		}
	}()
	return f()
}
