package db

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// SQLite's locks on the index of the write-ahead log, as offsets in its file
// (https://www.sqlite.org/walformat.html section 2.3.1; UNIX_SHM_BASE in SQLite's source
// is the first).
const (
	writeLock = 120
	readLocks = 123 // the first of five
)

// Holders tells which other process holds a lock on a database. All methods are safe for
// concurrent use.
//
// A process loses all its locks on a file when it closes any descriptor of that file. So
// the descriptor that Holders asks the kernel through stays open until [Holders.Close],
// which must be called after the last connection to the database is closed.
type Holders struct {
	path string // of the database

	mu   sync.Mutex
	file *os.File // the database's index of the write-ahead log; nil: not opened yet
}

// NewHolders makes a Holders for the database at path.
func NewHolders(path string) *Holders { return &Holders{path: path} }

// Close closes the descriptor. It may be called more than once.
func (h *Holders) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.file != nil {
		h.file.Close()
		h.file = nil
	}
}

// Writer describes the other process that holds the write lock. It returns "" if there is
// none, or if the kernel does not tell.
func (h *Holders) Writer() string { return h.holder(writeLock, 1) }

// Reader describes another process that has a read transaction open, which keeps the log
// from being restarted. It returns "" if there is none, or if the kernel does not tell.
func (h *Holders) Reader() string { return h.holder(readLocks, 5) }

// holder describes a process that holds a lock on one of n octets from first.
func (h *Holders) holder(first, n int64) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	index := h.path + "-shm"
	if h.file != nil { // SQLite makes a new file after all processes have closed the database
		now, err := os.Stat(index)
		if was, gone := h.file.Stat(); err != nil || gone != nil || !os.SameFile(now, was) {
			h.file.Close() // nobody has locks on the old one any more
			h.file = nil
		}
	}
	if h.file == nil {
		file, err := os.Open(index)
		if err != nil {
			return ""
		}
		h.file = file
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK, Start: first, Len: n}
	if err := unix.FcntlFlock(h.file.Fd(), unix.F_GETLK, &lock); err != nil || lock.Type == unix.F_UNLCK || lock.Pid <= 0 {
		return ""
	}
	return process(int(lock.Pid))
}

// process describes a process by its id and, as far as the kernel tells, its name and
// whether it is stopped.
func process(id int) string {
	text := fmt.Sprint("process ", id)
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(id) + "/stat")
	if err != nil {
		return text
	}
	begin, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if begin < 0 || end < begin || end+2 >= len(stat) {
		return text
	}
	text += fmt.Sprintf(" %q", stat[begin+1:end])
	if state := stat[end+2]; state == 'T' || state == 't' {
		text += ", which is stopped,"
	}
	return text
}
