package backup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"mailsrv/storage"
	"mailsrv/storage/sqlite/db"
)

// partial is the suffix of a backup's name until it is complete. No other program uses it,
// so the next backup may remove what a killed one has left.
const partial = ".mailsrv-part"

// claim creates an empty file that only its owner can read, and locks it until it is closed.
// If a killed process has left a file there, claim replaces that. storage.ErrBackup if
// another process has it locked. The caller closes the file.
func claim(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		left := errors.Is(err, fs.ErrExist)
		if left {
			f, err = os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
			if errors.Is(err, fs.ErrNotExist) {
				continue // another backup has just ended
			}
		}
		if err != nil {
			return nil, err
		}
		named, err := lockPart(f)
		switch {
		case err == nil && named && !left:
			return f, nil
		case err == nil && named:
			err = db.Remove(path)
		}
		f.Close()
		if err != nil {
			return nil, err
		}
	}
}

// lockPart locks a file and reports whether it still has its name. storage.ErrBackup if
// another process has it locked.
func lockPart(f *os.File) (named bool, err error) {
	// On a network file system a flock would lock out SQLite itself. This octet is behind
	// those that SQLite locks, and on a page that it never writes.
	octet := unix.Flock_t{Type: unix.F_WRLCK, Start: 1<<30 + 512, Len: 1}
	err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &octet)
	switch {
	case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES):
		return false, fmt.Errorf("%s: %w", f.Name(), storage.ErrBackup)
	case err != nil:
		return false, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	opened, err := f.Stat()
	if err != nil {
		return false, err
	}
	found, err := os.Lstat(f.Name())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(opened, found), err
}

// install renames a complete file to path and syncs the directory. fs.ErrExist if there is
// a file at path.
func install(part, path string) error {
	err := unix.Renameat2(unix.AT_FDCWD, part, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) { // some file systems, such as NFS, do not support the flag
		if _, err := os.Lstat(path); err == nil {
			return fmt.Errorf("%s: %w", path, fs.ErrExist)
		}
		err = os.Rename(part, path)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return db.SyncPath(filepath.Dir(path))
}
