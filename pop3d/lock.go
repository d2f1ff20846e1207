package pop3d

import (
	"sync"
	"time"

	"mailsrv/internal/mail"
)

// locks are the maildrops that sessions hold: one session each (RFC 1939
// section 4).
type locks struct {
	mu      sync.Mutex
	held    map[mail.MailboxID]*hold
	lines   map[mail.MailboxID][]*waiter // in order of arrival
	waiting int                          // in all lines
}

// hold is one session's lock on a maildrop. While the session waits for its
// client, another login may take the lock once the silence has lasted long
// enough; while it works it may not, so that the session learns before each
// command whether the lock is still its own.
type hold struct {
	mailbox mail.MailboxID
	sending func() bool // the client has not got all yet of what it was sent

	mu      sync.Mutex
	waiting bool
	until   time.Time // while waiting: when the lock may be taken
	taken   bool
}

// take locks a maildrop for h, a session that is at work, unless another session has
// a right to it. mu is held.
func (l *locks) take(h *hold, now time.Time) bool {
	if other := l.held[h.mailbox]; other != nil && !other.yield(now) {
		return false
	}
	if l.held == nil {
		l.held = map[mail.MailboxID]*hold{}
	}
	l.held[h.mailbox] = h
	return true
}

// release gives the maildrop to who waits first for it, if anybody does, or free. It
// does nothing where another session has taken it.
func (l *locks) release(h *hold) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[h.mailbox] != h {
		return
	}
	delete(l.held, h.mailbox)
	if line := l.lines[h.mailbox]; len(line) > 0 {
		l.held[h.mailbox] = line[0].hold
		close(line[0].given)
		l.leave(line[0])
	}
}

// yield takes the lock from its session if that has been silent long enough. Who
// still receives what the kernel holds is not silent.
func (h *hold) yield(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.taken = h.waiting && !now.Before(h.until) && !h.sending()
	return h.taken
}

// wait says that the session waits for its client, and when its silence will
// have lasted long enough.
func (h *hold) wait(until time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiting, h.until = true, until
}

// work says that octets have come. It returns whether the lock is still the
// session's, which then holds until the next wait.
func (h *hold) work() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiting = false
	return !h.taken
}
