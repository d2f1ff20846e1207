package storage

import (
	"context"
	"slices"
	"time"

	"mailsrv/internal/mail"
)

const (
	// maxWaiting is how many sessions may wait for a maildrop, of all mailboxes: each
	// holds a connection and nothing more.
	maxWaiting = 100
	// lookEvery is how often who waits looks whether the session that holds the
	// maildrop has fallen silent, and whether its own client is still there.
	lookEvery = 100 * time.Millisecond
)

// waiter is a session that waits for a maildrop.
type waiter struct {
	claim *localClaim
	given chan struct{} // closed when the maildrop is its own
}

// Claim implements Claims.
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

// Waiting is how many sessions wait for a maildrop.
func (l *LocalClaims) Waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting
}

// enter takes the maildrop where nobody has a right to it nor waits for it. If it
// cannot, and waiting is wanted and there is room, it puts w in line.
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

// first takes the maildrop for who stands first in line, if its session has been
// silent for long enough.
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

// giveUp takes w out of the line. It reports whether the maildrop came in the last
// moment.
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

// leave takes w out of its line, in which it is. mu is held.
func (l *LocalClaims) leave(w *waiter) {
	id := w.claim.mailbox
	line := l.lines[id]
	i := slices.Index(line, w)
	if l.lines[id] = slices.Delete(line, i, i+1); len(l.lines[id]) == 0 {
		delete(l.lines, id)
	}
	l.waiting--
}
