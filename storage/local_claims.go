package storage

import (
	"context"
	"sync"
	"time"

	"mailsrv/internal/mail"
)

// LocalClaims implements [Claims] in memory, for a store that one server uses alone. The
// zero value is ready to use. All methods are safe for concurrent use.
type LocalClaims struct {
	mu      sync.Mutex
	held    map[mail.MailboxID]*localClaim
	lines   map[mail.MailboxID][]*waiter // who waits, in order of arrival
	waiting int                          // number of waiters in all lines
}

var _ Claims = (*LocalClaims)(nil)

// localClaim is one session's claim. Between Yield and Hold another session may take
// the maildrop once the time given to Yield has come. Otherwise none may.
type localClaim struct {
	claims  *LocalClaims
	mailbox mail.MailboxID
	busy    func() bool

	mu      sync.Mutex
	yielded bool
	from    time.Time // if yielded: the maildrop may be taken from then on
	over    bool      // taken by another session, or released
}

// take gives the maildrop to h unless another session holds it and does not yield. The
// caller holds l.mu.
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

// yields ends the claim if it may be taken now, and reports whether it did. A session
// whose client is still receiving (busy) keeps it.
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
