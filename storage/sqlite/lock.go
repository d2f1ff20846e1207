package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrLocked says that a server runs on the data directory, or a repair.
var ErrLocked = errors.New("another mailsrv holds the data directory: stop it first, or choose another data_dir")

// locks are what one server at a time holds. The kernel gives them back when
// the process ends, however it ends.
type locks []*os.File

// lockStore locks the data directory, and that of the database if it stands
// elsewhere: two data directories may name one database.
func lockStore(dir, path string) (locks, error) {
	first, err := lockDirectory(dir)
	if err != nil {
		return nil, err
	}
	held := locks{first}
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
		held.release()
		return nil, err
	}
	return held, nil
}

func (l locks) release() {
	for _, f := range l {
		f.Close()
	}
}

func lockDirectory(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w", dir, ErrLocked)
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return f, nil
}
