package pop3d

import (
	"math"
	"sync"
	"time"

	"mailsrv/internal/mail"
)

// maxLogins is the number of mailboxes in one half of logins.
const maxLogins = 50_000

// logins holds the times at which mailboxes were opened (RFC 2449 section 6.5). It keeps
// at least the maxLogins mailboxes opened last, and at most twice as many. A mailbox that
// it has forgotten may be opened early.
type logins struct {
	mu         sync.Mutex
	young, old map[mail.MailboxID]time.Time
}

// since returns how long ago a mailbox was opened.
func (l *logins) since(id mail.MailboxID, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, ok := l.young[id]
	if !ok {
		at, ok = l.old[id]
	}
	if !ok {
		return math.MaxInt64
	}
	return now.Sub(at)
}

// add notes that a mailbox was opened.
func (l *logins) add(id mail.MailboxID, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.young[id]; l.young == nil || !known && len(l.young) >= maxLogins {
		l.young, l.old = map[mail.MailboxID]time.Time{}, l.young
	}
	l.young[id] = now
}
