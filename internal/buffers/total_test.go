package buffers_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mailsrv/internal/buffers"
)

// transfer takes from a total until it is told to end, or ends.
type transfer struct {
	total *buffers.Total
	ctx   context.Context
	told  chan struct{}
	end   func()
	taken int64
}

func network(text string) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(text)} }

// begin begins a transfer of a client in some networks, which ends when it is told to.
func begin(t *testing.T, total *buffers.Total, networks []netip.Prefix) *transfer {
	x := &transfer{total: total, told: make(chan struct{})}
	var done func()
	x.ctx, done = buffers.As(t.Context(), networks, func() {
		close(x.told)
		go x.end()
	})
	x.end = sync.OnceFunc(func() {
		total.Give(x.taken)
		done()
	})
	return x
}

func (x *transfer) take(n int64) error {
	err := x.total.Take(x.ctx, n)
	if err == nil {
		x.taken += n
	}
	return err
}

func (x *transfer) wasTold() bool {
	select {
	case <-x.told:
		return true
	default:
		return false
	}
}

const unit = buffers.Max

// many begins transfers that hold a unit each.
func many(t *testing.T, total *buffers.Total, networks []netip.Prefix, n int) (all []*transfer) {
	t.Helper()
	for range n {
		x := begin(t, total, networks)
		if err := x.take(unit); err != nil {
			t.Fatal(err)
		}
		all = append(all, x)
	}
	return all
}

func told(all []*transfer) (n int) {
	for _, x := range all {
		if x.wasTold() {
			n++
		}
	}
	return n
}

func TestNetworkHoldsItsShareWhileOthersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		total := buffers.NewTotal(16*unit, unit, wait)
		a, b, c := network("192.0.2.1/32"), network("192.0.2.2/32"), network("192.0.2.3/32")
		greedy := many(t, total, a, 16) // all, since nobody waits
		begun := time.Now()
		second := many(t, total, b, 4)
		if took := time.Since(begun); took != 4*5*time.Second {
			t.Errorf("waited %v", took)
		}
		if n := told(greedy); n != 4 || told(greedy[12:]) != 4 {
			t.Errorf("%d were told to end, of the youngest %d", n, told(greedy[12:]))
		}
		// Who holds its share asks nobody to end.
		more := begin(t, total, b)
		if err := more.take(unit); !errors.Is(err, buffers.ErrExhausted) || told(greedy) != 4 {
			t.Errorf("beyond its share: %v, %d told", err, told(greedy))
		}
		many(t, total, c, 4)
		if told(greedy) != 8 || told(second) != 0 {
			t.Errorf("%d and %d told", told(greedy), told(second))
		}
		many(t, total, network("192.0.2.4/32"), 4)
		if told(greedy) != 12 || told(second) != 0 {
			t.Errorf("%d and %d told", told(greedy), told(second))
		}
		// Four networks hold their shares: nobody ends for a fifth.
		fifth := begin(t, total, network("192.0.2.5/32"))
		if err := fifth.take(unit); !errors.Is(err, buffers.ErrExhausted) || told(greedy) != 12 {
			t.Errorf("the fifth: %v", err)
		}
	})
}

// A network that holds its share comes after those that do not, whenever it came.
func TestModestNetworksComeFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		total := buffers.NewTotal(8*unit, unit, wait)
		a, b := network("192.0.2.1/32"), network("192.0.2.2/32")
		held := many(t, total, a, 8)
		served := make(chan string, 3)
		request := func(name string, networks []netip.Prefix) {
			x := begin(t, total, networks)
			if err := x.take(unit); err != nil {
				t.Error(err)
			}
			served <- name
		}
		go request("a", a)
		synctest.Wait()
		go request("b", b)
		synctest.Wait()
		held[0].end()
		if first := <-served; first != "b" {
			t.Errorf("%s was served first", first)
		}
		// What comes free is kept for a while for those who would have to wait anew.
		begun := time.Now()
		held[1].end()
		request("b", b)
		if second := <-served; second != "b" || time.Since(begun) > 0 {
			t.Errorf("then %s, after %v", second, time.Since(begun))
		}
		held[2].end()
		if third := <-served; third != "a" || time.Since(begun) < 10*time.Second {
			t.Errorf("then %s, after %v", third, time.Since(begun))
		}
	})
}

// A /48 has one share, however many /64 it has.
func TestSiteHoldsOneShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		total := buffers.NewTotal(8*unit, unit, wait)
		site := netip.MustParsePrefix("2001:db8:1::/48")
		var greedy []*transfer
		for _, one := range []string{"2001:db8:1:1::/64", "2001:db8:1:2::/64", "2001:db8:1:3::/64", "2001:db8:1:4::/64"} {
			greedy = append(greedy, many(t, total, []netip.Prefix{netip.MustParsePrefix(one), site}, 2)...)
		}
		many(t, total, network("192.0.2.1/32"), 2)
		if told(greedy) != 2 {
			t.Errorf("%d told", told(greedy))
		}
	})
}

// A transfer that is told to end while it waits for more is not served any more.
func TestToldWhileItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		total := buffers.NewTotal(8*unit, unit, wait)
		a := network("192.0.2.1/32")
		many(t, total, a, 7)
		last := begin(t, total, a)
		if err := last.take(unit); err != nil {
			t.Fatal(err)
		}
		waits := make(chan error)
		go func() { waits <- total.Take(last.ctx, unit) }()
		synctest.Wait()
		other := make(chan error)
		go func() { other <- begin(t, total, network("192.0.2.2/32")).take(unit) }()
		begun := time.Now()
		if err := <-waits; !errors.Is(err, buffers.ErrExhausted) || time.Since(begun) != 5*time.Second || !last.wasTold() {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
		if err := <-other; err != nil {
			t.Error(err)
		}
	})
}

// A buffer that grew counts as large as it is.
func TestGrownBufferCountsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := buffers.NewPool(8*unit, wait)
		a := network("192.0.2.1/32")
		var ended atomic.Int32
		lend := func() ([]byte, func()) {
			ctx, done := buffers.As(t.Context(), a, func() { ended.Add(1) })
			b, err := p.Get(ctx, 0)
			if err == nil {
				b, err = p.Grow(ctx, b, unit)
			}
			if err != nil {
				t.Fatal(err)
			}
			return b, done
		}
		first, firstDone := lend() // two are the share
		second, secondDone := lend()
		for range 6 {
			if _, err := p.Get(t.Context(), unit); err != nil {
				t.Fatal(err)
			}
		}
		ctx, done := buffers.As(t.Context(), network("192.0.2.2/32"), func() {})
		if _, err := p.Get(ctx, 0); !errors.Is(err, buffers.ErrExhausted) || ended.Load() != 0 {
			t.Errorf("%v, %d told", err, ended.Load())
		}
		done()
		p.Put(first)
		firstDone()
		p.Put(second)
		secondDone()
		mustBeWhole(t, p, 2*unit)
	})
}

// A message that grows waits once, and others of its network need not wait after it.
func TestGrowingMessageWaitsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := buffers.NewPool(64*unit, wait)
		for range 64 {
			var b []byte
			var done func()
			yield := func() {
				go func() {
					p.Put(b)
					done()
				}()
			}
			ctx, end := buffers.As(t.Context(), network("192.0.2.1/32"), yield)
			b, done = mustGetAs(t, ctx, p, unit), end
		}
		begun := time.Now()
		for range 2 {
			ctx, _ := buffers.As(t.Context(), network("192.0.2.2/32"), func() {})
			b := mustGetAs(t, ctx, p, 0)
			for _, n := range []int{64 << 10, unit} {
				var err error
				if b, err = p.Grow(ctx, b, n); err != nil {
					t.Fatal(err)
				}
			}
		}
		if took := time.Since(begun); took != 5*time.Second {
			t.Errorf("waited %v", took)
		}
	})
}

func mustGetAs(t *testing.T, ctx context.Context, p *buffers.Pool, n int) []byte {
	t.Helper()
	b, err := p.Get(ctx, n)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Whatever many transfers do at once, all is given back, and none is told after its end.
func TestTransfersAtOnce(t *testing.T) {
	total := buffers.NewTotal(8*unit, unit, time.Millisecond)
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 0))
			for range 200 {
				var ended atomic.Bool
				networks := []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i % 5)}), 32), netip.MustParsePrefix("10.0.0.0/8")}
				ctx, done := buffers.As(t.Context(), networks, func() {
					if ended.Load() {
						t.Error("told after its end")
					}
				})
				taken := int64(0)
				for range random.IntN(4) {
					if n := random.Int64N(unit); total.Take(ctx, n) == nil {
						taken += n
					}
				}
				total.Give(taken)
				done()
				ended.Store(true)
			}
		})
	}
	all.Wait()
	if err := total.Take(t.Context(), 8*unit); err != nil {
		t.Errorf("not everything went back: %v", err)
	}
}

// Who asks for more than there is in all is told at once, and is in nobody's way.
func TestMoreThanThereIs(t *testing.T) {
	total := buffers.NewTotal(100, 0, wait)
	if err := total.Take(t.Context(), 101); !errors.Is(err, buffers.ErrExhausted) {
		t.Errorf("got %v", err)
	}
	if err := total.Take(t.Context(), 100); err != nil {
		t.Error(err)
	}
}
