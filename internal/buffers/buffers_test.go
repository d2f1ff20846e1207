package buffers_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mailsrv/internal/buffers"
)

const wait = 30 * time.Second

func mustGet(t *testing.T, p *buffers.Pool, n int) []byte {
	t.Helper()
	b, err := p.Get(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) != 0 || cap(b) < n {
		t.Fatalf("asked for %d octets, got length %d, capacity %d", n, len(b), cap(b))
	}
	return b
}

// mustBeWhole fails unless all of the total can be lent.
func mustBeWhole(t *testing.T, p *buffers.Pool, total int64) {
	t.Helper()
	for ; total > 0; total -= buffers.Max {
		if err := p.Reserve(t.Context(), min(total, buffers.Max)); err != nil {
			t.Errorf("not everything went back: %v", err)
		}
	}
}

func TestGetSizes(t *testing.T) {
	p := buffers.NewPool(1<<20, wait)
	for n, want := range map[int]int{
		0: 8 << 10, 1: 8 << 10, 8 << 10: 8 << 10, 8<<10 + 1: 64 << 10, 64 << 10: 64 << 10,
		64<<10 + 1: buffers.Max, buffers.Max: buffers.Max,
	} {
		b := mustGet(t, p, n)
		if cap(b) != want {
			t.Errorf("%d octets asked for, %d lent", n, cap(b))
		}
		p.Put(append(b, "used"...))
	}
}

func TestTotalIsNeverExceeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := buffers.NewPool(4*buffers.Max, wait)
		var lent [][]byte
		for range 4 {
			lent = append(lent, mustGet(t, p, buffers.Max))
		}
		began := time.Now()
		if b, err := p.Get(t.Context(), 1); !errors.Is(err, buffers.ErrExhausted) || b != nil {
			t.Errorf("beyond the total: %v", err)
		}
		if took := time.Since(began); took != wait {
			t.Errorf("waited %v", took)
		}
		p.Put(lent[0])
		for range buffers.Max / (8 << 10) {
			mustGet(t, p, 1)
		}
		if err := p.Reserve(t.Context(), 1); !errors.Is(err, buffers.ErrExhausted) {
			t.Errorf("one octet beyond the total: %v", err)
		}
	})
}

func TestTotalHoldsOneLargest(t *testing.T) {
	p := buffers.NewPool(1, wait)
	p.Put(mustGet(t, p, buffers.Max))
}

func TestReserveCountsAgainstTotal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := buffers.NewPool(buffers.Max, wait)
		if err := p.Reserve(t.Context(), buffers.Max-8<<10); err != nil {
			t.Fatal(err)
		}
		b := mustGet(t, p, 1)
		if _, err := p.Get(t.Context(), 1); !errors.Is(err, buffers.ErrExhausted) {
			t.Errorf("beyond the total: %v", err)
		}
		p.Put(b)
		p.Release(buffers.Max - 8<<10)
		p.Put(mustGet(t, p, buffers.Max))
	})
}

func TestWaiterIsServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := buffers.NewPool(buffers.Max, wait)
		b := mustGet(t, p, buffers.Max)
		served := make(chan error)
		go func() {
			b, err := p.Get(t.Context(), buffers.Max)
			p.Put(b)
			served <- err
		}()
		time.Sleep(wait - 1)
		p.Put(b)
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

// Small requests that come later do not starve a large one.
func TestLargeRequestIsNotStarved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := buffers.NewPool(buffers.Max, wait)
		small := mustGet(t, p, 1)
		served := make(chan string, 2)
		request := func(name string, n int) {
			b, err := p.Get(t.Context(), n)
			if err != nil {
				t.Error(err)
			}
			served <- name
			p.Put(b)
		}
		go request("large", buffers.Max)
		synctest.Wait()
		go request("small", 1)
		synctest.Wait()
		p.Put(small)
		if first := <-served; first != "large" {
			t.Errorf("%s was served first", first)
		}
		<-served
	})
}

func TestContextEndsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := buffers.NewPool(buffers.Max, wait)
		b := mustGet(t, p, buffers.Max)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.Get(ctx, 1); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, buffers.ErrExhausted) {
			t.Errorf("error %v", err)
		}
		p.Put(b)
		p.Put(mustGet(t, p, buffers.Max)) // the borrower that gave up holds nothing
	})
}

func TestGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := buffers.NewPool(buffers.Max+64<<10, wait)
		b := append(mustGet(t, p, 1), "content"...)
		same, err := p.Grow(t.Context(), b, cap(b))
		if err != nil || &same[0] != &b[0] {
			t.Errorf("a buffer that is large enough was exchanged: %v", err)
		}
		grown, err := p.Grow(t.Context(), b, cap(b)+1)
		if err != nil || string(grown) != "content" || cap(grown) != 64<<10 {
			t.Fatalf("%q of %d: %v", grown, cap(grown), err)
		}
		grown, err = p.Grow(t.Context(), grown, buffers.Max)
		if err != nil || string(grown) != "content" || cap(grown) != buffers.Max {
			t.Fatalf("%q of %d: %v", grown, cap(grown), err)
		}

		// The smaller ones went back.
		small := append(mustGet(t, p, 64<<10), "other"...)
		kept, err := p.Grow(t.Context(), small, 64<<10+1)
		if !errors.Is(err, buffers.ErrExhausted) || string(kept) != "other" || cap(kept) != 64<<10 {
			t.Fatalf("%q of %d: %v", kept, cap(kept), err)
		}
		p.Put(kept)
		p.Put(grown)
		p.Put(nil)
		mustBeWhole(t, p, buffers.Max+64<<10)
	})
}

// No two borrowers hold the same memory.
func TestBorrowersAtOnce(t *testing.T) {
	p := buffers.NewPool(1<<20, wait)
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 0))
			for range 200 {
				b, err := p.Get(t.Context(), random.IntN(10<<10))
				if err != nil {
					t.Error(err)
					return
				}
				b = append(b, byte(i))
				if b, err = p.Grow(t.Context(), b, random.IntN(70<<10)); err != nil {
					t.Error(err)
				}
				for range 100 {
					b = append(b, byte(i))
				}
				for _, c := range b {
					if c != byte(i) {
						t.Error("somebody else wrote here")
					}
				}
				p.Put(b)
			}
		})
	}
	all.Wait()
	mustBeWhole(t, p, 1<<20)
}
