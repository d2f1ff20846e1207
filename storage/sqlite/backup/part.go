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

// partial is what the name of a backup ends in until it is whole. No other
// program's files end so: what a killed backup left is removed by the next.
const partial = ".mailsrv-part"

// claim makes an empty private file that is nobody else's until it is closed, in
// place of one that a killed process left.
func claim(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		left := errors.Is(err, fs.ErrExist)
		if left {
			f, err = os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
			if errors.Is(err, fs.ErrNotExist) {
				continue // the other backup has just ended
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

// lockPart locks a file and reports whether it still has its name.
func lockPart(f *os.File) (named bool, err error) {
	// A flock would keep SQLite itself out where files are on another machine. This
	// octet is behind those that SQLite locks, on a page that it never writes.
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

// install gives a whole file its name for good, unless that is taken: fs.ErrExist.
func install(part, path string) error {
	err := unix.Renameat2(unix.AT_FDCWD, part, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) { // NFS, for one, cannot ask for that
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
