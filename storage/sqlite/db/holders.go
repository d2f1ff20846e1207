package db

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// SQLite's locks on the index of the write-ahead log, by octets of its file
// (https://www.sqlite.org/walformat.html section 2.3.1, at which UNIX_SHM_BASE in its
// source puts them).
const (
	writeLock = 120
	readLocks = 123 // five of them
)

// Holders tells which other process holds a lock on a database. It is safe for concurrent
// use.
//
// A process loses all its locks on a file when it closes any descriptor of it: the one
// that is asked through stays open until Close, which must come after the last
// connection's.
type Holders struct {
	path string // of the database

	mu   sync.Mutex
	file *os.File // its index of the write-ahead log; nil: not opened yet
}

// NewHolders watches the locks on the database at path.
func NewHolders(path string) *Holders { return &Holders{path: path} }

// Close closes the descriptor.
func (h *Holders) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.file != nil {
		h.file.Close()
		h.file = nil
	}
}

// Writer names the process that holds the write lock; "": none, or none that is known.
func (h *Holders) Writer() string { return h.holder(writeLock, 1) }

// Reader names a process that is in a reading transaction, and keeps the log from
// beginning anew; "": none but this one, or none that is known.
func (h *Holders) Reader() string { return h.holder(readLocks, 5) }

func (h *Holders) holder(first, n int64) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	index := h.path + "-shm"
	if h.file != nil { // which is another once all have closed the database
		now, err := os.Stat(index)
		if was, gone := h.file.Stat(); err != nil || gone != nil || !os.SameFile(now, was) {
			h.file.Close() // on which nobody has locks any more
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

// process describes a process by its id, its name, and that it is stopped, as far as the
// kernel tells.
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
