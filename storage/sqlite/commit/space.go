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

// reserveSize is how many octets are reserved for deleting on a full disk: in WAL mode
// SQLite writes before it frees.
const reserveSize = 64 << 20

// reserveParts is the number of parts in which the reserve is given up. Whoever filled the
// disk may go on doing so: if the whole reserve were given up at once, it could be used up
// before the next deletion.
const reserveParts = 16

// spaceAge is how long a measurement of the disk counts.
const spaceAge = time.Second

// Space watches the free space of the disk that holds the database, and keeps the reserve
// file beside the database. All exported methods are safe for concurrent use, but
// [Space.UseReserve] is for the engine's goroutine alone.
type Space struct {
	path    string // of the database
	minFree int64  // octets
	reserve int64  // octets; 0: none
	server  bool   // writes the reserve file; others only give it up
	readers *db.Readers
	logger  *slog.Logger

	mu      sync.Mutex
	checked time.Time // when the disk was measured
	low     bool
	margin  int64 // free octets above minFree, when the disk was measured
	taken   int64 // octets that may have been written since then
}

// NewSpace watches the disk that holds the database at path. Less than minFree free octets
// are too little; 0 turns the check off. A server writes the reserve file; others only
// give it up.
func NewSpace(path string, minFree int64, server bool, r *db.Readers, logger *slog.Logger) *Space {
	// On a small disk with a small minimum the reserve itself must not fill the disk.
	return &Space{path: path, minFree: minFree, reserve: min(reserveSize, minFree/4), server: server, readers: r, logger: logger}
}

// Check returns [storage.ErrNoSpace] while no mail should be accepted. That is so if less
// than the minimum is free, where the reserve and free pages inside the database count as
// free; or if the reserve is gone and there is no room for it.
func (s *Space) Check() error { return s.Take(0) }

// Take is as [Space.Check], and notes that octets are about to be stored. The disk is
// measured at most once a second, unless much was stored: a fast sender could fill the
// disk within that second.
func (s *Space) Take(octets int64) error {
	if s.minFree <= 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken += 2 * octets // once in the write-ahead log, once in the database
	if now := time.Now(); now.Sub(s.checked) > spaceAge || !s.low && s.taken > s.margin/2 {
		s.measure()
		s.checked, s.taken = now, 0
	}
	if s.low {
		return storage.ErrNoSpace
	}
	return nil
}

// Short reports whether space is so short that what is kept aside must make room. That
// begins while a quarter of the minimum is left above it, before mail is refused.
func (s *Space) Short() bool {
	if s.Check() != nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.minFree > 0 && s.margin-s.taken < s.minFree/4
}

// Recheck makes the next [Space.Check] or [Space.Take] measure the disk again.
func (s *Space) Recheck() {
	s.mu.Lock()
	s.checked = time.Time{}
	s.mu.Unlock()
}

// measure measures the disk, and logs whenever low changes. The caller holds mu.
func (s *Space) measure() {
	free, disk, err := s.free()
	if err != nil {
		s.logger.Warn(logs.Storage, logs.Reason, "free space is unknown", logs.Error, err)
		return // keep the last measurement
	}
	// Without the reserve, free pages are of no use: mail that fills them could not be
	// deleted again.
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

// free returns how many octets can still be stored in all, and how many of them are free
// on the disk. The others are the reserve and free pages of the database. Committed pages
// for which the database file must still grow are subtracted.
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

// laidOut returns how many octets of the reserve are on the disk.
func (s *Space) laidOut() int64 {
	info, err := os.Stat(s.reserveFile())
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	return info.Size()
}

// layOut writes the reserve file and reports whether that succeeded.
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

// UseReserve gives up a part of the reserve, and reports whether there was any left.
func (s *Space) UseReserve() bool {
	left := s.laidOut()
	if left == 0 {
		return false
	}
	part := s.reserve/reserveParts + 1
	if s.reserve <= 0 { // the reserve was written under another configuration
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
