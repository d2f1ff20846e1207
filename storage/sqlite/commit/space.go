package commit

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
	"mailsrv/storage/sqlite/db"
)

// reserveSize is what is kept aside for deleting on a full disk: in WAL mode
// SQLite writes before it frees.
const reserveSize = 64 << 20

// reserveParts is in how many parts the reserve is given up. Whoever filled the
// disk may go on doing so: what is given up at once may be gone by the next
// deletion.
const reserveParts = 16

// spaceAge is how old an answer about the disk may be.
const spaceAge = time.Second

// Space watches the disk under the database and keeps the reserve beside it.
type Space struct {
	path    string // of the database
	minFree int64
	reserve int64 // octets to keep aside; 0: none
	server  bool  // lays the reserve out; others only give it up
	readers *db.Readers
	logger  *slog.Logger

	mu      sync.Mutex
	checked time.Time
	low     bool
	margin  int64 // above the minimum, when it was measured
	taken   int64 // since then
}

// NewSpace watches the disk under the database at path: less than minFree octets are too
// little. A server lays the reserve out; others only give it up.
func NewSpace(path string, minFree int64, server bool, r *db.Readers, logger *slog.Logger) *Space {
	// On a small disk with a small minimum the reserve must not be what fills it.
	return &Space{path: path, minFree: minFree, reserve: min(reserveSize, minFree/4), server: server, readers: r, logger: logger}
}

// Check returns ErrNoSpace while no mail should be accepted: less than the
// minimum is free, the reserve and free pages inside the database counted in,
// or the reserve is gone and there is no room for it.
func (s *Space) Check() error { return s.Take(0) }

// Take is Check before this number of octets is stored. A fast sender could fill the
// disk before an answer is a second old.
func (s *Space) Take(octets int64) error {
	if s.minFree <= 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken += 2 * octets // in the write-ahead log, and in the database
	if now := time.Now(); now.Sub(s.checked) > spaceAge || !s.low && s.taken > s.margin/2 {
		s.measure()
		s.checked, s.taken = now, 0
	}
	if s.low {
		return storage.ErrNoSpace
	}
	return nil
}

// Short reports whether what can be spared is to make room: a quarter of the minimum
// before mail is refused.
func (s *Space) Short() bool {
	if s.Check() != nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.minFree > 0 && s.margin-s.taken < s.minFree/4
}

// Recheck makes the next check look again.
func (s *Space) Recheck() {
	s.mu.Lock()
	s.checked = time.Time{}
	s.mu.Unlock()
}

func (s *Space) measure() {
	free, disk, err := s.free()
	if err != nil {
		s.logger.Warn(logs.Storage, logs.Reason, "free space is unknown", logs.Error, err)
		return // what was known stays
	}
	// Without the reserve free pages are of no use: what fills them could not
	// be deleted.
	missing := s.reserve - s.laidOut()
	reserved := !s.server || missing <= 0 || disk >= s.reserve+missing && s.layOut()
	s.margin = free - s.minFree
	if low := s.margin < 0 || !reserved; low != s.low {
		s.low = low
		reason := "disk space is back: mail is accepted again"
		switch {
		case !reserved:
			reason = "the disk has no room for the reserve that deleting needs: mail is refused with 452 until there is"
		case low:
			reason = "disk space is below storage.min_free: mail is refused with 452 until there is more"
		}
		s.logger.Warn(logs.Storage, logs.Reason, reason, logs.Octets, free)
	}
}

// free returns what can still be stored, and how much of that the disk has: the
// rest are the reserve and free pages of the database. What is committed and
// not yet in the database will need its room there, and is taken off.
func (s *Space) free() (all, disk int64, err error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(s.path), &fs); err != nil {
		return 0, 0, err
	}
	info, err := os.Stat(s.path)
	if err != nil {
		return 0, 0, err
	}
	disk = int64(fs.Bavail) * fs.Bsize
	err = s.readers.Use(context.Background(), func(c *db.Conn) error {
		var numbers [3]int64
		for i, pragma := range [...]string{"PRAGMA page_size", "PRAGMA page_count", "PRAGMA freelist_count"} {
			var err error
			if numbers[i], err = c.Number(pragma); err != nil {
				return err
			}
		}
		size, pages, unused := numbers[0], numbers[1], numbers[2]
		all = disk + unused*size - max(0, pages*size-info.Size())
		return nil
	})
	return all + s.laidOut(), disk, err
}

func (s *Space) reserveFile() string { return filepath.Join(filepath.Dir(s.path), "reserve") }

// laidOut is how much of the reserve is there.
func (s *Space) laidOut() int64 {
	info, err := os.Stat(s.reserveFile())
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	return info.Size()
}

// layOut writes the reserve file and reports whether that went well.
func (s *Space) layOut() bool {
	err := func() error {
		f, err := os.OpenFile(s.reserveFile(), os.O_CREATE|os.O_WRONLY, 0o600)
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
	return err == nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// UseReserve gives a part of the reserve up and reports whether that made room.
func (s *Space) UseReserve() bool {
	left := s.laidOut()
	if left == 0 {
		return false
	}
	part := s.reserve/reserveParts + 1
	if s.reserve <= 0 { // laid out under another configuration
		part = left
	}
	left = max(0, left-part)
	if err := os.Truncate(s.reserveFile(), left); err != nil {
		s.logger.Error(logs.Storage, logs.Reason, "the reserve cannot be used", logs.Error, err)
		return false
	}
	if left+part >= s.reserve {
		s.logger.Warn(logs.Storage, logs.Reason, "the disk is full: the reserve is given up piece by piece so that mail can be deleted")
	}
	return true
}
