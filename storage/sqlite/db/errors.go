package db

import (
	"errors"
	"fmt"
	"runtime"

	"mailsrv/storage"

	"github.com/mattn/go-sqlite3"
	"golang.org/x/sys/unix"
)

// Is reports whether err is an error of SQLite's with this primary result code.
func Is(err error, code sqlite3.ErrNo) bool {
	var e sqlite3.Error
	return errors.As(err, &e) && e.Code == code
}

// IsFull reports whether err says that the disk is full or the owner's disk quota is used
// up. It looks at the system's error too: if SQLite cannot enlarge its index of the
// write-ahead log, it returns an I/O error instead of "full".
func IsFull(err error) bool {
	var e sqlite3.Error
	return errors.As(err, &e) && (e.Code == sqlite3.ErrFull || e.SystemErrno == unix.ENOSPC || e.SystemErrno == unix.EDQUOT || e.SystemErrno == unix.EFBIG)
}

// Named wraps an error that says that the database is damaged in [storage.ErrCorrupt], and
// one that says that the file is no database in [storage.ErrLost]. It returns other errors
// as they are.
func Named(err error) error {
	switch {
	case IsDamage(err) && !errors.Is(err, storage.ErrCorrupt):
		return fmt.Errorf("%w: %w", storage.ErrCorrupt, err)
	case Is(err, sqlite3.ErrNotADB):
		return fmt.Errorf("%w, or %w", err, storage.ErrLost)
	}
	return err
}

// Damage of rows on pages that SQLite itself finds sound.
var (
	ErrRow   = errors.New("a row is not as the schema has it") // such as on a page overwritten with zeros
	ErrTwice = errors.New("a folder gave a uid twice")
)

// IsDamage reports whether err says that the database is damaged: an error of SQLite's,
// [ErrRow] or [ErrTwice].
func IsDamage(err error) bool {
	return Is(err, sqlite3.ErrCorrupt) || errors.Is(err, ErrRow) || errors.Is(err, ErrTwice)
}

// Guarded calls f and returns its error. If a type assertion in f panics, it returns
// [ErrRow]: code that scans rows asserts the types of the schema without a check.
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
