package storage

import (
	"errors"
	"testing"
	"time"

	"mailsrv/internal/mail"
)

func TestClaimRules(t *testing.T) {
	var l LocalClaims
	receives := false // the first session, what it was sent
	busy := func() bool { return receives }
	now := time.Unix(1e9, 0)
	acquire := func(id mail.MailboxID, now time.Time, busy func() bool) *localClaim {
		h := &localClaim{claims: &l, mailbox: id, busy: busy}
		if !l.take(h, now) {
			return nil
		}
		return h
	}
	first := acquire(1, now, busy)
	if first == nil || acquire(2, now, busy) == nil {
		t.Fatal("a free maildrop was refused")
	}
	if acquire(1, now.Add(time.Hour), busy) != nil {
		t.Fatal("taken from a session at work")
	}
	first.Yield(now.Add(time.Minute))
	if acquire(1, now.Add(time.Minute-1), busy) != nil {
		t.Fatal("taken before its time")
	}
	if first.Hold(t.Context()) != nil {
		t.Fatal("the session lost a maildrop that nobody took")
	}
	// It said something: the silence begins anew.
	if acquire(1, now.Add(time.Hour), busy) != nil {
		t.Fatal("taken from a session at work again")
	}
	first.Yield(now.Add(2 * time.Minute))
	receives = true
	if acquire(1, now.Add(time.Hour), busy) != nil {
		t.Fatal("taken from a session that still receives")
	}
	receives = false
	second := acquire(1, now.Add(2*time.Minute), busy)
	if second == nil {
		t.Fatal("refused after the silence")
	}
	if !errors.Is(first.Hold(t.Context()), ErrTaken) {
		t.Fatal("the session did not notice that its maildrop was taken")
	}
	first.Release()
	if acquire(1, now.Add(time.Hour), busy) != nil {
		t.Fatal("the old session gave the new one's maildrop away")
	}
	second.Release()
	if !errors.Is(second.Hold(t.Context()), ErrTaken) {
		t.Fatal("held after release")
	}
	if acquire(1, now, busy) == nil {
		t.Fatal("refused after release")
	}
}
