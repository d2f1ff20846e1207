package pop3d

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mailsrv/internal/mail"
)

func never() bool { return false }

// lineUp lets n logins wait for maildrop 1, one after the other. Each adds its number
// to the result when it gets the maildrop, keeps it for a second, and -1 when it does
// not get it.
type lineUp struct {
	locks
	mu  sync.Mutex
	got []int
	all sync.WaitGroup
}

func (l *lineUp) wait(ctx context.Context, n int, patience time.Duration) {
	for i := range n {
		l.all.Go(func() {
			h := l.acquire(ctx, 1, patience, never, never)
			l.mu.Lock()
			if h == nil {
				i = -1
			}
			l.got = append(l.got, i)
			l.mu.Unlock()
			if h != nil {
				time.Sleep(time.Second)
				l.release(h)
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

func (l *lineUp) hold(t *testing.T, id mail.MailboxID) *hold {
	t.Helper()
	h := l.acquire(t.Context(), id, 0, never, never)
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
		l.release(l.hold(t, 2)) // another maildrop
		if len(l.got) != 0 {
			t.Errorf("%v got what another holds", l.got)
		}
		time.Sleep(time.Second)
		l.release(h)
		synctest.Wait()
		if l.acquire(t.Context(), 1, 0, never, never) != nil {
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
		l.release(h)
		l.end(t)
	})
}

func TestWaitersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l lineUp
		h, other := l.hold(t, 1), l.hold(t, 2)
		ctx, cancel := context.WithCancel(t.Context())
		l.wait(ctx, maxWaiting, time.Hour)
		begun := time.Now()
		for _, id := range []mail.MailboxID{1, 2} {
			if l.acquire(t.Context(), id, time.Hour, never, never) != nil || time.Now() != begun {
				t.Error("one more waited")
			}
		}
		l.release(l.hold(t, 3)) // who need not wait comes in all the same
		cancel()                // as a server that stops does
		l.all.Wait()
		if time.Now() != begun || len(l.got) != maxWaiting || l.got[0] != -1 {
			t.Errorf("%d ended after %v", len(l.got), time.Since(begun))
		}
		l.release(h)
		l.release(other)
		l.end(t)
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
		silent.wait(begun.Add(3 * time.Second))
		time.Sleep(2 * time.Second)
		if !silent.work() {
			t.Fatal("taken before its time")
		}
		silent.wait(time.Now().Add(3 * time.Second))
		time.Sleep(3*time.Second + lookEvery)
		synctest.Wait()
		if !slices.Equal(l.got, []int{0}) || silent.work() {
			t.Errorf("%v took over", l.got)
		}
		l.release(silent) // which it lost
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
		if l.acquire(t.Context(), 1, time.Minute, never, gone) != nil || time.Since(begun) > time.Second+lookEvery {
			t.Errorf("waited %v", time.Since(begun))
		}
		l.release(h)
		l.end(t)
	})
}

// Whatever ends at the same moment, a maildrop is either had or free.
func TestWaitersUnderStress(t *testing.T) {
	var l locks
	var all sync.WaitGroup
	var mu sync.Mutex
	holders := 0
	for i := range 50 {
		all.Go(func() {
			for range 100 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*20*time.Microsecond)
				if h := l.acquire(ctx, 1, time.Duration(50-i)*20*time.Microsecond, never, never); h != nil {
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
					l.release(h)
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
