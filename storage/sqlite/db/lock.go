package db

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"mailsrv/storage"
)

// Locks are the locked files that only one server at a time holds. The kernel releases
// them when the process ends, however it ends.
type Locks []*os.File

// LockStore locks the data directory dir, and the directory of the database at path if
// that is another: two data directories may name one database. It does not wait:
// [storage.ErrLocked] if another process holds a lock. The caller releases the locks.
func LockStore(dir, path string) (Locks, error) {
	first, err := lockDirectory(dir)
	if err != nil {
		return nil, err
	}
	held := Locks{first}
	one, err := os.Stat(dir)
	if err == nil {
		var other os.FileInfo
		if other, err = os.Stat(filepath.Dir(path)); err == nil && !os.SameFile(one, other) {
			var second *os.File
			if second, err = lockDirectory(filepath.Dir(path)); err == nil {
				held = append(held, second)
			}
		}
	}
	if err != nil {
		held.Release()
		return nil, err
	}
	return held, nil
}

// Release releases all locks.
func (l Locks) Release() {
	for _, f := range l {
		f.Close()
	}
}

func lockDirectory(dir string) (*os.File, error) {
	return lockFile(filepath.Join(dir, "lock"), unix.LOCK_EX, storage.ErrLocked)
}

// LockDatabase takes the lock that keeps a database file from being replaced while it is
// open. Whoever opens a database in the directory takes it shared (unix.LOCK_SH). Whoever
// replaces the file, or puts one where there is none, takes it exclusive (unix.LOCK_EX).
// It does not wait: [storage.ErrOccupied] if another process is in the way. The caller
// closes the file, which releases the lock.
func LockDatabase(path string, how int) (*os.File, error) {
	return lockFile(filepath.Join(filepath.Dir(path), "in-use"), how, storage.ErrOccupied)
}

// lockFile locks a file, which it creates if needed. It returns held if the file is locked
// already.
func lockFile(path string, how int, held error) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w", filepath.Dir(path), held)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}
