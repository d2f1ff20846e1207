package pop3d

import (
	"context"
	"slices"
	"time"

	"mailsrv/internal/mail"
)

const (
	// maxWaiting is how many logins may wait for a maildrop, of all mailboxes: each
	// holds a connection and nothing more.
	maxWaiting = 100
	// lookEvery is how often who waits looks whether the session that holds the
	// maildrop has fallen silent, and whether its own client is still there.
	lookEvery = 100 * time.Millisecond
)

// waiter is a login that waits for a maildrop.
type waiter struct {
	hold  *hold
	given chan struct{} // closed when the maildrop is its own
}

// acquire locks a maildrop for a session, which waits for that as long as patience
// allows, behind those who came before. nil: another session still has a right to
// it, or too many wait, or ctx has ended, or the client was gone. sending is asked
// when another one wants the maildrop.
func (l *locks) acquire(ctx context.Context, id mail.MailboxID, patience time.Duration, sending, gone func() bool) *hold {
	w := &waiter{hold: &hold{mailbox: id, sending: sending}, given: make(chan struct{})}
	if owned, waits := l.enter(w, patience > 0); owned {
		return w.hold
	} else if !waits {
		return nil
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-w.given:
			return w.hold
		case now := <-look.C:
			if l.first(w, now) {
				return w.hold
			}
			if !gone() {
				continue
			}
		case <-late.C:
		case <-ctx.Done():
		}
		if l.giveUp(w) {
			return w.hold
		}
		return nil
	}
}

// enter takes the maildrop where nobody has a right to it nor waits for it. If it
// cannot, and waiting is wanted and there is room, it puts w in line.
func (l *locks) enter(w *waiter, wait bool) (owned, waits bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := w.hold.mailbox
	if len(l.lines[id]) == 0 && l.take(w.hold, time.Now()) {
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
func (l *locks) first(w *waiter, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := l.lines[w.hold.mailbox]
	if len(line) == 0 || line[0] != w || !l.take(w.hold, now) {
		return false
	}
	l.leave(w)
	return true
}

// giveUp takes w out of the line. It reports whether the maildrop came in the last
// moment.
func (l *locks) giveUp(w *waiter) (owned bool) {
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
func (l *locks) leave(w *waiter) {
	id := w.hold.mailbox
	line := l.lines[id]
	i := slices.Index(line, w)
	if l.lines[id] = slices.Delete(line, i, i+1); len(l.lines[id]) == 0 {
		delete(l.lines, id)
	}
	l.waiting--
}
