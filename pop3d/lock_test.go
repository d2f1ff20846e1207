package pop3d

import (
	"testing"
	"time"
)

func TestLockRules(t *testing.T) {
	var l locks
	receives := false // the first session, what it was sent
	sending := func() bool { return receives }
	now := time.Unix(1e9, 0)
	first := l.acquire(1, now, sending)
	if first == nil || l.acquire(2, now, sending) == nil {
		t.Fatal("a free maildrop was refused")
	}
	if l.acquire(1, now.Add(time.Hour), sending) != nil {
		t.Fatal("taken from a session at work")
	}
	first.wait(now.Add(time.Minute))
	if l.acquire(1, now.Add(time.Minute-1), sending) != nil {
		t.Fatal("taken before its time")
	}
	if !first.work() {
		t.Fatal("the session lost a lock that nobody took")
	}
	// It said something: the silence begins anew.
	if l.acquire(1, now.Add(time.Hour), sending) != nil {
		t.Fatal("taken from a session at work again")
	}
	first.wait(now.Add(2 * time.Minute))
	receives = true
	if l.acquire(1, now.Add(time.Hour), sending) != nil {
		t.Fatal("taken from a session that still receives")
	}
	receives = false
	second := l.acquire(1, now.Add(2*time.Minute), sending)
	if second == nil {
		t.Fatal("refused after the silence")
	}
	if first.work() {
		t.Fatal("the session did not notice that its lock was taken")
	}
	l.release(first)
	if l.acquire(1, now.Add(time.Hour), sending) != nil {
		t.Fatal("the old session gave the new one's lock away")
	}
	l.release(second)
	if l.acquire(1, now, sending) == nil {
		t.Fatal("refused after release")
	}
}
