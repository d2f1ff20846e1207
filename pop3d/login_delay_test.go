package pop3d

import (
	"testing"
	"time"

	"mailsrv/internal/mail"
)

func TestLoginTimesAreBounded(t *testing.T) {
	var l logins
	now := time.Unix(1e9, 0)
	if l.since(1, now) < 1000*time.Hour {
		t.Fatal("a mailbox that nobody opened")
	}
	const n = 5 * maxLogins
	for i := range mail.MailboxID(n) {
		l.add(i, now)
	}
	if got := len(l.young) + len(l.old); got > 2*maxLogins {
		t.Errorf("%d mailboxes are known", got)
	}
	later := now.Add(time.Minute)
	for i := range mail.MailboxID(maxLogins) {
		if got := l.since(n-1-i, later); got != time.Minute {
			t.Fatalf("mailbox %d before the last: opened %v ago", i, got)
		}
	}
	l.add(n-1, later)
	if got := l.since(n-1, later); got != 0 {
		t.Errorf("opened just now: %v ago", got)
	}
}
