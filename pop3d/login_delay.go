package pop3d

import (
	"math"
	"sync"
	"time"

	"mailsrv/internal/mail"
)

// maxLogins is how many mailboxes a half of logins knows.
const maxLogins = 50_000

// logins are the times at which mailboxes were opened (RFC 2449 section 6.5).
// It knows the maxLogins mailboxes opened last at the least and twice as many
// at the most; one that it has forgotten may be opened early.
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

// add says that a mailbox was opened.
func (l *logins) add(id mail.MailboxID, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.young[id]; l.young == nil || !known && len(l.young) >= maxLogins {
		l.young, l.old = map[mail.MailboxID]time.Time{}, l.young
	}
	l.young[id] = now
}
