package storage

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mailsrv/internal/mail"
)

// claim is a claim that waits so long, nil where it is refused.
func (l *LocalClaims) claim(ctx context.Context, id mail.MailboxID, patience time.Duration) Claim {
	c, err := l.Claim(ctx, id, Claimant{Patience: patience})
	if err != nil {
		return nil
	}
	return c
}

// lineUp lets n logins wait for maildrop 1, one after the other. Each adds its number
// to the result when it gets the maildrop, keeps it for a second, and -1 when it does
// not get it.
type lineUp struct {
	LocalClaims
	mu  sync.Mutex
	got []int
	all sync.WaitGroup
}

func (l *lineUp) wait(ctx context.Context, n int, patience time.Duration) {
	for i := range n {
		l.all.Go(func() {
			h := l.claim(ctx, 1, patience)
			l.mu.Lock()
			if h == nil {
				i = -1
			}
			l.got = append(l.got, i)
			l.mu.Unlock()
			if h != nil {
				time.Sleep(time.Second)
				h.Release()
			}
		})
		synctest.Wait()
	}
}

// end waits for all and checks that nothing is left.
func (l *lineUp) end(t *testing.T) {
	t.Helper()
	l.all.Wait()
	if l.waiting != 0 || len(l.lines) != 0 || len(l.held) != 0 {
		t.Errorf("left behind: %d wait, %d lines, %d held", l.waiting, len(l.lines), len(l.held))
	}
}

func (l *lineUp) hold(t *testing.T, id mail.MailboxID) Claim {
	t.Helper()
	h := l.claim(t.Context(), id, 0)
	if h == nil {
		t.Fatal("a free maildrop was refused")
	}
	return h
}

func TestWaitersComeInTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l lineUp
		h := l.hold(t, 1)
		l.wait(t.Context(), 5, 10*time.Second)
		l.hold(t, 2).Release() // another maildrop
		if len(l.got) != 0 {
			t.Errorf("%v got what another holds", l.got)
		}
		time.Sleep(time.Second)
		h.Release()
		synctest.Wait()
		if l.claim(t.Context(), 1, 0) != nil {
			t.Error("somebody who came later went before")
		}
		l.end(t)
		if !slices.Equal(l.got, []int{0, 1, 2, 3, 4}) {
			t.Errorf("got it in the order %v", l.got)
		}
	})
}

func TestWaitersHavePatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l lineUp
		h := l.hold(t, 1)
		begun := time.Now()
		l.wait(t.Context(), 3, 10*time.Second)
		l.all.Wait()
		if waited := time.Since(begun); waited != 10*time.Second || !slices.Equal(l.got, []int{-1, -1, -1}) {
			t.Errorf("%v after %v", l.got, waited)
		}
		l.wait(t.Context(), 1, 0)
		if time.Since(begun) != 10*time.Second {
			t.Error("without patience it waited")
		}
		h.Release()
		l.end(t)
	})
}

func TestWaitersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l lineUp
		h, other := l.hold(t, 1), l.hold(t, 2)
		ctx, cancel := context.WithCancel(t.Context())
		l.wait(ctx, 100, time.Hour)
		begun := time.Now()
		for _, id := range []mail.MailboxID{1, 2} {
			if l.claim(t.Context(), id, time.Hour) != nil || time.Now() != begun {
				t.Error("one more waited")
			}
		}
		l.hold(t, 3).Release() // who need not wait comes in all the same
		cancel()               // as a server that stops does
		l.all.Wait()
		if time.Now() != begun || len(l.got) != 100 || l.got[0] != -1 {
			t.Errorf("%d ended after %v", len(l.got), time.Since(begun))
		}
		h.Release()
		other.Release()
		l.end(t)
	})
}

// Between the moment at which a silent session gives way and the next look of who waits
// first, nobody passes by.
func TestWaitersArePassedByNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l lineUp
		silent := l.hold(t, 1)
		l.wait(t.Context(), 1, 10*time.Second)
		silent.Yield(time.Now().Add(lookEvery * 5 / 4))
		time.Sleep(lookEvery * 3 / 2)
		if l.claim(t.Context(), 1, 0) != nil {
			t.Error("somebody who came later went before")
		}
		silent.Release()
		l.end(t)
		if !slices.Equal(l.got, []int{0}) {
			t.Errorf("got it in the order %v", l.got)
		}
	})
}

// A session that falls silent for long enough gives way to who waits first.
func TestFirstWaiterTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l lineUp
		silent := l.hold(t, 1)
		l.wait(t.Context(), 2, 10*time.Second)
		time.Sleep(time.Second)
		begun := time.Now()
		silent.Yield(begun.Add(3 * time.Second))
		time.Sleep(2 * time.Second)
		if silent.Hold(t.Context()) != nil {
			t.Fatal("taken before its time")
		}
		silent.Yield(time.Now().Add(3 * time.Second))
		time.Sleep(3*time.Second + lookEvery)
		synctest.Wait()
		if !slices.Equal(l.got, []int{0}) || silent.Hold(t.Context()) == nil {
			t.Errorf("%v took over", l.got)
		}
		silent.Release() // which it lost
		l.end(t)
		if !slices.Equal(l.got, []int{0, 1}) {
			t.Errorf("got it in the order %v", l.got)
		}
	})
}

// Who hangs up makes room.
func TestWaiterThatHangsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l lineUp
		h := l.hold(t, 1)
		begun := time.Now()
		gone := func() bool { return time.Since(begun) >= time.Second }
		if _, err := l.Claim(t.Context(), 1, Claimant{Patience: time.Minute, Gone: gone}); !errors.Is(err, ErrInUse) || time.Since(begun) > time.Second+lookEvery {
			t.Errorf("waited %v", time.Since(begun))
		}
		h.Release()
		l.end(t)
	})
}

// Whatever ends at the same moment, a maildrop is either had or free.
func TestWaitersUnderStress(t *testing.T) {
	var l LocalClaims
	var all sync.WaitGroup
	var mu sync.Mutex
	holders := 0
	for i := range 50 {
		all.Go(func() {
			for range 100 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*20*time.Microsecond)
				if h := l.claim(ctx, 1, time.Duration(50-i)*20*time.Microsecond); h != nil {
					mu.Lock()
					holders++
					if holders > 1 {
						t.Error("two hold one maildrop")
					}
					mu.Unlock()
					time.Sleep(10 * time.Microsecond)
					mu.Lock()
					holders--
					mu.Unlock()
					h.Release()
				}
				cancel()
			}
		})
	}
	all.Wait()
	if l.waiting != 0 || len(l.lines) != 0 || len(l.held) != 0 {
		t.Errorf("left behind: %d wait, %d lines, %d held", l.waiting, len(l.lines), len(l.held))
	}
}
