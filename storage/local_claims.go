package storage

import (
	"context"
	"sync"
	"time"

	"mailsrv/internal/mail"
)

// LocalClaims are the claims of a store that one server alone has: they live in its
// memory. The zero value is ready.
type LocalClaims struct {
	mu      sync.Mutex
	held    map[mail.MailboxID]*localClaim
	lines   map[mail.MailboxID][]*waiter // in order of arrival
	waiting int                          // in all lines
}

var _ Claims = (*LocalClaims)(nil)

// localClaim is one session's hold. While the session waits for its client, another
// one may take the maildrop once the silence has lasted long enough; while it works
// none may, so that the session learns before each command whether the maildrop is
// still its own.
type localClaim struct {
	claims  *LocalClaims
	mailbox mail.MailboxID
	busy    func() bool

	mu      sync.Mutex
	yielded bool
	from    time.Time // while yielded: when the maildrop may be taken
	over    bool      // taken, or released
}

// take gives a maildrop to h, a session that is at work, unless another session has
// a right to it. mu is held.
func (l *LocalClaims) take(h *localClaim, now time.Time) bool {
	if other := l.held[h.mailbox]; other != nil && !other.yields(now) {
		return false
	}
	if l.held == nil {
		l.held = map[mail.MailboxID]*localClaim{}
	}
	l.held[h.mailbox] = h
	return true
}

// yields takes the maildrop from its session if that has been silent long enough. Who
// still receives what the kernel holds is not silent.
func (h *localClaim) yields(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over = h.yielded && !now.Before(h.from) && !asked(h.busy)
	return h.over
}

// Yield implements Claim.
func (h *localClaim) Yield(from time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.yielded, h.from = true, from
}

// Hold implements Claim.
func (h *localClaim) Hold(context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.yielded = false
	if h.over {
		return ErrTaken
	}
	return nil
}

// Release implements Claim.
func (h *localClaim) Release() {
	l := h.claims
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[h.mailbox] != h {
		return
	}
	h.mu.Lock()
	h.over = true
	h.mu.Unlock()
	delete(l.held, h.mailbox)
	if line := l.lines[h.mailbox]; len(line) > 0 {
		l.held[h.mailbox] = line[0].claim
		close(line[0].given)
		l.leave(line[0])
	}
}

func asked(f func() bool) bool { return f != nil && f() }
