package db

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"mailsrv/storage"
)

// Locks are what one server at a time holds. The kernel gives them back when
// the process ends, however it ends.
type Locks []*os.File

// LockStore locks the data directory, and that of the database if it stands
// elsewhere: two data directories may name one database.
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

// Release gives them back.
func (l Locks) Release() {
	for _, f := range l {
		f.Close()
	}
}

func lockDirectory(dir string) (*os.File, error) {
	return lockFile(filepath.Join(dir, "lock"), unix.LOCK_EX, storage.ErrLocked)
}

// LockDatabase keeps a database from being exchanged while it is open: whoever
// opens one in its directory shares the lock (LOCK_SH), who exchanges one, or puts
// it where there is none, has it alone (LOCK_EX).
func LockDatabase(path string, how int) (*os.File, error) {
	return lockFile(filepath.Join(filepath.Dir(path), "in-use"), how, storage.ErrOccupied)
}

// lockFile locks a file, which is made if needed; held is the error if it is
// locked already.
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
