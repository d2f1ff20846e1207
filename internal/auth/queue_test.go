package auth

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// dear is what a computation of a dear hash takes here.
const dear = 600 * time.Millisecond

// onCores is a fixture for a bubble of synctest with so many cores, where hashes from
// elsewhere are dear, and all others take thirty milliseconds.
func onCores(cores int) *fixture {
	f := onRealClock()
	f.queue.cores, f.queue.most = cores, max(1, cores/2)
	f.compute = func(h passwordHash, password string) bool {
		if h.foreign {
			time.Sleep(dear)
		} else {
			time.Sleep(30 * time.Millisecond)
		}
		return password == "secret"
	}
	return f
}

// timed is a login that must succeed, and what it took.
func timed(t *testing.T, f *fixture, client netip.Addr, name string) time.Duration {
	t.Helper()
	began := time.Now()
	if _, err := f.Login(t.Context(), client, name, "secret"); err != nil {
		t.Errorf("%s from %v: %v", name, client, err)
	}
	return time.Since(began)
}

// guessers has so many connections guess again and again, until stop is called.
func guessers(t *testing.T, f *fixture, n int, client func(i, round int) netip.Addr, name func(int) string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			for round := 0; ctx.Err() == nil; round++ {
				_, err := f.Login(ctx, client(i, round), name(i), guess(n*round+i))
				if errors.Is(err, ErrBusy) {
					time.Sleep(100 * time.Millisecond)
				}
			}
		})
	}
	return func() {
		cancel()
		all.Wait()
		if waiting, running := f.inQueue(); waiting+running+len(f.queue.counts) > 0 {
			t.Errorf("%d wait, %d have a core, %d are counted", waiting, running, len(f.queue.counts))
		}
	}
}

// Half a minute after one address began to guess on many connections, all its guesses
// fall due at once. Nobody else's login waits for them, first or not.
func TestGuessesThatFallDueAtOnce(t *testing.T) {
	for cores, most := range map[int]time.Duration{2: 100 * time.Millisecond, 1: dear + 100*time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			f := onCores(cores)
			f.people.add(t, "dear@me.com", foreign[0].hash)
			f.people.add(t, "look@me.com", mustHash(t, "secret"))
			f.people.add(t, "see@me.com", mustHash(t, "secret"))
			timed(t, f, elsewhere(1), "look@me.com")
			stop := guessers(t, f, 48, func(int, int) netip.Addr { return home }, always("dear@me.com"))
			time.Sleep(29 * time.Second)
			for i := range 400 { // until after half a minute, and the next one
				f.forgetLogins()
				if took := timed(t, f, elsewhere(1), "look@me.com"); took > most {
					t.Errorf("%d cores, after %d: an owner waited %v", cores, i, took)
				}
				if took := timed(t, f, elsewhere(1000+i), "see@me.com"); took > most {
					t.Errorf("%d cores, after %d: a first login waited %v", cores, i, took)
				}
				time.Sleep(100 * time.Millisecond)
			}
			stop()
		})
	}
}

// As many guess from fresh addresses, each time from another: no right first login is
// refused, nor waits for long, be they guesses at one dear hash or at any name.
func TestGuessesFromFreshAddresses(t *testing.T) {
	fresh := func(i, round int) netip.Addr { return elsewhere(10_000 + 120*round + i) }
	for what, name := range map[string]func(int) string{"one dear name": always("dear@me.com"), "any name": unlike} {
		synctest.Test(t, func(t *testing.T) {
			f := onCores(2)
			f.people.add(t, "dear@me.com", foreign[0].hash)
			hash := mustHash(t, "secret")
			owner := func(i int) string { return "owner" + guess(i) + "@me.com" }
			for i := range 40 {
				f.people.add(t, owner(i), hash)
			}
			stop := guessers(t, f, 120, fresh, name)
			time.Sleep(20 * time.Second)
			var all sync.WaitGroup
			for i := range 40 {
				all.Go(func() {
					if took := timed(t, f, elsewhere(i), owner(i)); took > 5*time.Second {
						t.Errorf("%s: first login %d waited %v", what, i, took)
					}
				})
			}
			all.Wait()
			stop()
		})
	}
}

// Strangers who have taken all places that they may have keep nobody out who has logged
// in before: from that network, or by that name with that password.
func TestPlacesAreKept(t *testing.T) {
	for what, row := range map[string]struct {
		client netip.Addr
		name   string
	}{
		"the network and the name":     {elsewhere(1), "look@me.com"},
		"another name in the network":  {elsewhere(1), "see@me.com"},
		"the name, on another network": {elsewhere(2), "look@me.com"},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := onCores(2)
			for _, name := range []string{"look@me.com", "see@me.com", "new@me.com"} {
				f.people.add(t, name, mustHash(t, "secret"))
			}
			timed(t, f, elsewhere(1), "look@me.com")
			time.Sleep(2 * rememberFor)
			stop := guessers(t, f, maxQueue, func(i, round int) netip.Addr { return elsewhere(10_000 + maxQueue*round + i) }, unlike)
			synctest.Wait()
			if waiting, _ := f.inQueue(); waiting != maxQueue-keptPlaces {
				t.Errorf("%d strangers wait", waiting)
			}
			if _, err := f.Login(t.Context(), elsewhere(2), "new@me.com", "secret"); !errors.Is(err, ErrBusy) {
				t.Errorf("a first login from a new network: %v", err)
			}
			if took := timed(t, f, row.client, row.name); took > 5*30*time.Millisecond {
				t.Errorf("%s: waited %v", what, took)
			}
			stop()
		})
	}
}

// However many guess at one name, its owner does not stand behind them: from where he
// has logged in before, or with the password that he had then.
func TestGuessesAtANameKeepNoOwnerOut(t *testing.T) {
	for what, client := range map[string]netip.Addr{"at home": elsewhere(1), "on the road": elsewhere(2)} {
		synctest.Test(t, func(t *testing.T) {
			f := onCores(2)
			f.people.add(t, "look@me.com", mustHash(t, "secret"))
			timed(t, f, elsewhere(1), "look@me.com")
			time.Sleep(2 * rememberFor)
			stop := guessers(t, f, 2*nameMost, func(i, round int) netip.Addr { return elsewhere(10_000 + 2*nameMost*round + i) }, always("look@me.com"))
			time.Sleep(maxNameDelay)
			for waiting := 0; waiting < nameMost; waiting, _ = f.inQueue() {
				time.Sleep(time.Millisecond)
			}
			most := 5 * 30 * time.Millisecond
			if client == elsewhere(2) {
				most += maxNameDelay // as for every stranger, where others guess
			}
			if took := timed(t, f, client, "look@me.com"); took > most {
				t.Errorf("%s: waited %v", what, took)
			}
			stop()
		})
	}
}

// Places are counted by network, by site and by name; who is over a limit hears that
// it is busy, and nobody else does.
func TestPlacesAreLimited(t *testing.T) {
	inSite := func(i int) netip.Addr {
		return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0, 1, byte(i >> 8), byte(i), 15: 1})
	}
	for what, row := range map[string]struct {
		client func(int) netip.Addr
		name   func(int) uint64
		most   int
	}{
		"network": {from(home), func(i int) uint64 { return uint64(100 + i) }, networkMost},
		"site":    {inSite, func(i int) uint64 { return uint64(100 + i) }, siteMost},
		"name":    {elsewhere, func(int) uint64 { return 100 }, nameMost},
	} {
		f := newFixture()
		release := occupy(t, f)
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for i := range row.most {
			all.Go(func() { f.queue.do(ctx, ofClient(row.client(i), row.name(i)), func() {}) })
		}
		waitFor(t, func() bool { waiting, _ := f.inQueue(); return waiting == row.most })
		ended, end := context.WithCancel(t.Context())
		if err := f.queue.do(ended, ofClient(row.client(row.most), row.name(row.most)), func() {}); !errors.Is(err, ErrBusy) {
			t.Errorf("%s: one more: %v", what, err)
		}
		time.AfterFunc(time.Millisecond, end)
		if err := f.queue.do(ended, ofClient(abroad, 1), func() {}); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: somebody else: %v", what, err)
		}
		cancel()
		all.Wait()
		release()
		if waiting, running := f.inQueue(); waiting+running+len(f.queue.counts) > 0 {
			t.Errorf("%s: %d wait, %d have a core, %d are counted", what, waiting, running, len(f.queue.counts))
		}
	}
}

// Who has had less comes first: of many of one network, the others wait for each other.
func TestTurns(t *testing.T) {
	f := newFixture()
	f.queue.cores, f.queue.most = 1, 1
	release := occupy(t, f)
	var order []string
	var mu sync.Mutex
	var all sync.WaitGroup
	enter := func(who string, p place) {
		before, _ := f.inQueue()
		all.Go(func() {
			if err := f.queue.do(t.Context(), p, func() {
				mu.Lock()
				defer mu.Unlock()
				order = append(order, who)
			}); err != nil {
				t.Error(err)
			}
		})
		waitFor(t, func() bool { now, _ := f.inQueue(); return now == before+1 })
	}
	known := ofClient(elsewhere(5), 50)
	known.known = true
	for i := range 3 {
		enter("a", ofClient(home, uint64(10+i)))
	}
	for i := range 3 {
		enter("b", ofClient(elsewhere(i), 20)) // one name
	}
	enter("c", ofClient(elsewhere(9), 30))
	enter("K", known)
	release()
	all.Wait()
	got := ""
	for _, who := range order {
		got += who
	}
	if got != "Kabcabab" {
		t.Errorf("in the order %s", got)
	}
}
