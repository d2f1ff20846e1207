package sqlite

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"mailsrv/internal/logs"
	"mailsrv/storage"
)

// reserveSize is what is kept aside for deleting on a full disk: in WAL mode
// SQLite writes before it frees.
const reserveSize = 64 << 20

// spaceAge is how old an answer about the disk may be.
const spaceAge = time.Second

// space watches the disk under the data directory and keeps the reserve.
type space struct {
	dir     string
	minFree int64
	reserve int64 // octets to keep aside; 0: none
	readers *readers
	logger  *slog.Logger

	mu      sync.Mutex
	checked time.Time
	low     bool
}

func newSpace(dir string, minFree int64, server bool, r *readers, logger *slog.Logger) *space {
	s := &space{dir: dir, minFree: minFree, readers: r, logger: logger}
	if server && minFree > 0 {
		// On a small disk with a small minimum the reserve must not be what
		// fills it.
		s.reserve = min(reserveSize, minFree/4)
		s.check()
	}
	return s
}

// check returns ErrNoSpace while less than the minimum is free, free pages
// inside the database counted in.
func (s *space) check() error {
	if s.minFree <= 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.checked) > spaceAge {
		s.measure()
		s.checked = now
	}
	if s.low {
		return storage.ErrNoSpace
	}
	return nil
}

// recheck makes the next check look again.
func (s *space) recheck() {
	s.mu.Lock()
	s.checked = time.Time{}
	s.mu.Unlock()
}

func (s *space) measure() {
	free, err := s.free()
	if err != nil {
		s.logger.Warn(logs.Storage, logs.Reason, "free space is unknown", logs.Error, err)
		return // what was known stays
	}
	if low := free < s.minFree; low != s.low {
		s.low = low
		reason := "disk space is back: mail is accepted again"
		if low {
			reason = "disk space is below storage.min_free: mail is refused with 452 until there is more"
		}
		s.logger.Warn(logs.Storage, logs.Reason, reason, logs.Octets, free)
	}
	if s.reserve > 0 && !s.low && free > s.minFree+2*s.reserve {
		s.layOut()
	}
}

func (s *space) free() (int64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(s.dir, &fs); err != nil {
		return 0, err
	}
	free := int64(fs.Bavail) * fs.Bsize
	err := s.readers.use(context.Background(), func(c *conn) error {
		pages, err := c.number("PRAGMA freelist_count")
		if err != nil {
			return err
		}
		size, err := c.number("PRAGMA page_size")
		free += pages * size
		return err
	})
	return free, err
}

func (s *space) reserveFile() string { return filepath.Join(s.dir, "reserve") }

// layOut writes the reserve file unless it is there whole.
func (s *space) layOut() {
	if info, err := os.Stat(s.reserveFile()); err == nil && info.Size() == s.reserve {
		return
	}
	err := func() error {
		f, err := os.OpenFile(s.reserveFile(), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		defer f.Close()
		err = unix.Fallocate(int(f.Fd()), 0, 0, s.reserve)
		if errors.Is(err, unix.EOPNOTSUPP) {
			_, err = io.CopyN(f, zeros{}, s.reserve)
		}
		return err
	}()
	if err != nil {
		os.Remove(s.reserveFile())
		s.logger.Warn(logs.Storage, logs.Reason, "no reserve for a full disk could be laid out", logs.Error, err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// useReserve removes the reserve file and reports whether that made room.
func (s *space) useReserve() bool {
	info, err := os.Stat(s.reserveFile())
	if err != nil || info.Size() == 0 {
		return false
	}
	if err := os.Remove(s.reserveFile()); err != nil {
		s.logger.Error(logs.Storage, logs.Reason, "the reserve cannot be removed", logs.Error, err)
		return false
	}
	s.logger.Warn(logs.Storage, logs.Reason, "the disk is full: the reserve was given up so that mail can be deleted")
	return true
}
