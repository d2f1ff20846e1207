package pop3d

import (
	"testing"
	"time"

	"mailsrv/internal/mail"
)

func TestLockRules(t *testing.T) {
	var l locks
	receives := false // the first session, what it was sent
	sending := func() bool { return receives }
	now := time.Unix(1e9, 0)
	acquire := func(id mail.MailboxID, now time.Time, sending func() bool) *hold {
		h := &hold{mailbox: id, sending: sending}
		if !l.take(h, now) {
			return nil
		}
		return h
	}
	first := acquire(1, now, sending)
	if first == nil || acquire(2, now, sending) == nil {
		t.Fatal("a free maildrop was refused")
	}
	if acquire(1, now.Add(time.Hour), sending) != nil {
		t.Fatal("taken from a session at work")
	}
	first.wait(now.Add(time.Minute))
	if acquire(1, now.Add(time.Minute-1), sending) != nil {
		t.Fatal("taken before its time")
	}
	if !first.work() {
		t.Fatal("the session lost a lock that nobody took")
	}
	// It said something: the silence begins anew.
	if acquire(1, now.Add(time.Hour), sending) != nil {
		t.Fatal("taken from a session at work again")
	}
	first.wait(now.Add(2 * time.Minute))
	receives = true
	if acquire(1, now.Add(time.Hour), sending) != nil {
		t.Fatal("taken from a session that still receives")
	}
	receives = false
	second := acquire(1, now.Add(2*time.Minute), sending)
	if second == nil {
		t.Fatal("refused after the silence")
	}
	if first.work() {
		t.Fatal("the session did not notice that its lock was taken")
	}
	l.release(first)
	if acquire(1, now.Add(time.Hour), sending) != nil {
		t.Fatal("the old session gave the new one's lock away")
	}
	l.release(second)
	if acquire(1, now, sending) == nil {
		t.Fatal("refused after release")
	}
}
