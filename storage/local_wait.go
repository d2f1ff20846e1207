package storage

import (
	"context"
	"slices"
	"time"

	"mailsrv/internal/mail"
)

const (
	// maxWaiting is how many sessions may wait at a time, for all mailboxes together.
	// Each keeps a connection open.
	maxWaiting = 100
	// lookEvery is how often a waiting session checks whether it may take the maildrop,
	// and whether its own client has hung up.
	lookEvery = 100 * time.Millisecond
)

// waiter is a session that waits for a maildrop.
type waiter struct {
	claim *localClaim
	given chan struct{} // closed when claim gets the maildrop
}

// Claim implements [Claims].
func (l *LocalClaims) Claim(ctx context.Context, id mail.MailboxID, c Claimant) (Claim, error) {
	w := &waiter{claim: &localClaim{claims: l, mailbox: id, busy: c.Busy}, given: make(chan struct{})}
	if owned, waits := l.enter(w, c.Patience > 0); owned {
		return w.claim, nil
	} else if !waits {
		return nil, ErrInUse
	}
	late := time.NewTimer(c.Patience)
	defer late.Stop()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		err := ErrInUse
		select {
		case <-w.given:
			return w.claim, nil
		case now := <-look.C:
			if l.first(w, now) {
				return w.claim, nil
			}
			if !asked(c.Gone) {
				continue
			}
		case <-late.C:
		case <-ctx.Done():
			err = ctx.Err()
		}
		if l.giveUp(w) {
			return w.claim, nil
		}
		return nil, err
	}
}

// Waiting returns the number of sessions that wait for a maildrop.
func (l *LocalClaims) Waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting
}

// enter takes the maildrop if nobody waits for it and take succeeds. Otherwise, if wait
// is set and fewer than maxWaiting wait, it puts w in line.
func (l *LocalClaims) enter(w *waiter, wait bool) (owned, waits bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := w.claim.mailbox
	if len(l.lines[id]) == 0 && l.take(w.claim, time.Now()) {
		return true, false
	}
	if !wait || l.waiting >= maxWaiting {
		return false, false
	}
	if l.lines == nil {
		l.lines = map[mail.MailboxID][]*waiter{}
	}
	l.lines[id] = append(l.lines[id], w)
	l.waiting++
	return false, true
}

// first takes the maildrop for w if w is first in line and take succeeds.
func (l *LocalClaims) first(w *waiter, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := l.lines[w.claim.mailbox]
	if len(line) == 0 || line[0] != w || !l.take(w.claim, now) {
		return false
	}
	l.leave(w)
	return true
}

// giveUp takes w out of its line, unless w has got the maildrop meanwhile (owned).
func (l *LocalClaims) giveUp(w *waiter) (owned bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-w.given:
		return true
	default:
		l.leave(w)
		return false
	}
}

// leave takes w out of its line. w must be in it, and the caller holds l.mu.
func (l *LocalClaims) leave(w *waiter) {
	id := w.claim.mailbox
	line := l.lines[id]
	i := slices.Index(line, w)
	if l.lines[id] = slices.Delete(line, i, i+1); len(l.lines[id]) == 0 {
		delete(l.lines, id)
	}
	l.waiting--
}
