package auth

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mailsrv/internal/bounded"
)

// delays are what a sequence of failures waits beyond the floor.
func delays(t *testing.T, f *fixture, n int, client func(i int) netip.Addr, name func(i int) string) []time.Duration {
	t.Helper()
	var all []time.Duration
	for i := range n {
		took, err := f.login(t, client(i), name(i), guess(i))
		if !errors.Is(err, ErrRefused) {
			t.Fatalf("failure %d: %v", i, err)
		}
		all = append(all, took-leastFloor)
	}
	return all
}

func from(a netip.Addr) func(int) netip.Addr { return func(int) netip.Addr { return a } }
func always(name string) func(int) string    { return func(int) string { return name } }
func guess(i int) string                     { return fmt.Sprintf("wrong%d", i) }
func unlike(i int) string                    { return fmt.Sprintf("nobody%d@me.com", i) }
func elsewhere(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}

func seconds(n ...time.Duration) []time.Duration {
	for i := range n {
		n[i] *= time.Second
	}
	return n
}

func TestDelayGrows(t *testing.T) {
	network6 := func(i int) netip.Addr { // one customer's /64
		return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: byte(i)})
	}
	for _, test := range []struct {
		what   string
		client func(int) netip.Addr
		name   func(int) string
		want   []time.Duration
	}{
		{"one network, one name", from(home), always("look@me.com"), seconds(0, 0, 1, 2, 4, 8, 16, 30, 30, 30)},
		{"one network, one unknown name", from(home), always("nobody@me.com"), seconds(0, 0, 1, 2, 4, 8, 16, 30, 30, 30)},
		{"one network, many names", from(home), unlike, seconds(0, 0, 1, 2, 4, 8, 16, 30, 30, 30)},
		{"one /64, many names", network6, unlike, seconds(0, 0, 1, 2, 4, 8, 16, 30, 30, 30)},
		{"one network, malformed names", from(home), always("look"), seconds(0, 0, 1, 2, 4, 8, 16, 30, 30, 30)},
		{"many networks, one name", elsewhere, always("look@me.com"), seconds(0, 0, 1, 2, 4, 8, 15, 15, 15, 15)},
		{"many networks, one unknown name", elsewhere, always("nobody@me.com"), seconds(0, 0, 1, 2, 4, 8, 15, 15, 15, 15)},
		{"many networks, one name that is no address", elsewhere, always("look"), seconds(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)},
		{"one network, many names that are no address", from(home), guess, seconds(0, 0, 1, 2, 4, 8, 16, 30, 30, 30)},
		{"many networks, many names", elsewhere, unlike, seconds(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)},
	} {
		f := newFixture()
		f.pretend("secret")
		f.people.add(t, "look@me.com", foreign[0].hash)
		if got := delays(t, f, 10, test.client, test.name); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", test.what, got, test.want)
		}
	}
}

// A site of IPv6 is counted too, whichever of its 65,536 networks a guess comes from:
// sixteen failures as one, since it may be a provider's, and never for longer than a
// name is. Whoever has logged in from there is not slowed down.
func TestSiteIsCounted(t *testing.T) {
	f := newFixture()
	f.pretend("secret")
	f.people.add(t, "look@me.com", foreign[0].hash)
	inSite := func(i int) netip.Addr {
		return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0, 1, byte(i >> 8), byte(i), 15: 1})
	}
	owner := inSite(60_000)
	if _, err := f.login(t, owner, "look@me.com", "secret"); err != nil {
		t.Fatal(err)
	}
	got := delays(t, f, 400, inSite, unlike)
	if free := slices.Repeat(seconds(0), 17); !slices.Equal(got[:17], free) || got[17] != time.Second {
		t.Errorf("at first %v", got[:18])
	}
	if !slices.IsSorted(got) {
		t.Errorf("the delay falls: %v", got)
	}
	for i, late := range got[300:] {
		if late != maxSiteDelay {
			t.Errorf("guess %d waited %v", 300+i, late)
		}
	}
	if took, err := f.login(t, owner, "look@me.com", "secret"); err != nil || took != 0 {
		t.Errorf("the owner, in the same site: %v after %v", err, took)
	}
	next := netip.MustParseAddr("2001:db8:2::1")
	if took, err := f.login(t, next, "nobody@me.com", "wrong"); !errors.Is(err, ErrRefused) || took != leastFloor {
		t.Errorf("from the next site: %v after %v", err, took)
	}
	if n := len(networksOf(home)); n != 1 {
		t.Errorf("an IPv4 address counts in %d networks", n)
	}

	// At once they are no cheaper: so many wait as one after the other would.
	synctest.Test(t, func(t *testing.T) {
		f := onRealClock()
		began := time.Now()
		var at []time.Duration
		var all sync.WaitGroup
		var mu sync.Mutex
		for i := range 400 {
			all.Go(func() {
				f.Login(t.Context(), inSite(i), unlike(i), "wrong")
				mu.Lock()
				defer mu.Unlock()
				at = append(at, time.Since(began).Truncate(time.Second))
			})
			synctest.Wait()
		}
		all.Wait()
		slices.Sort(at)
		if at[31] > 0 || at[40] < time.Second || at[399] < maxSiteDelay {
			t.Errorf("answered after %v", at)
		}
		if len(f.throttle.fromNetwork) != 0 || len(f.throttle.forName) != 0 {
			t.Error("somebody still stands in line")
		}
	})
}

// A program that tries each mechanism with what was typed once has failed once, and
// its set-up that tries the local part first twice: who comes next waits for neither.
func TestOneMistakeCountsOnce(t *testing.T) {
	const tries = 6
	for _, test := range []struct {
		what     string
		familiar bool
		name     string
	}{
		{"an address", false, "look@me.com"},
		{"an address, from home", true, "look@me.com"},
		{"an address, unknown", false, "nobody@me.com"},
		{"no address", false, "look"},
	} {
		f := newFixture()
		f.pretend("secret")
		f.people.add(t, "look@me.com", foreign[0].hash)
		f.people.add(t, "see@me.com", foreign[0].hash)
		if test.familiar {
			f.login(t, home, "look@me.com", "secret")
		}
		for i := range tries {
			name := test.name
			if i%2 == 1 {
				name = strings.ToUpper(name) // as an address the same
			}
			if test.name == "look" {
				name = test.name
			}
			if took, err := f.login(t, home, name, "secrte"); !errors.Is(err, ErrRefused) || took != leastFloor {
				t.Errorf("%s, try %d: %v after %v", test.what, i, err, took)
			}
		}
		if owed := f.failures(networksOf(home)[0]); owed != 1 {
			t.Errorf("%s: %d failures of the network", test.what, owed)
		}
		if owed, _ := f.throttle.names.Get(f.attempt(home, test.name).name); owed.failures(f.now()) > 1 {
			t.Errorf("%s: %d failures of the name", test.what, owed.failures(f.now()))
		}
		if took, err := f.login(t, home, "see@me.com", "secret"); err != nil || took != 0 {
			t.Errorf("%s: the next person waited %v: %v", test.what, took, err)
		}
		f.clock.pass(sameGuess)
		f.login(t, home, test.name, "secrte")
		if owed := f.failures(networksOf(home)[0]); owed != 2 {
			t.Errorf("%s: %d failures of the network after a minute", test.what, owed)
		}
	}
}

// What differs in name, password or network is another guess.
func TestOtherGuessesCount(t *testing.T) {
	f := newFixture()
	f.pretend("secret")
	for i, guess := range []struct {
		client         netip.Addr
		name, password string
	}{
		{home, "look@me.com", "a"}, {home, "look@me.com", "b"}, {home, "look", "a"}, {home, "LOOK", "a"}, {home, "see@me.com", "a"},
		{home, "look@me.co", "ma"}, {home, "look@me.com", "A"},
	} {
		f.login(t, guess.client, guess.name, guess.password)
		if owed := f.failures(networksOf(home)[0]); owed != i+1 {
			t.Errorf("%+v: %d failures", guess, owed)
		}
		f.clock.time = time.Unix(1_700_000_000, 0) // what the delays took
	}
	f.login(t, abroad, "look@me.com", "a")
	if owed := f.failures(networksOf(abroad)[0]); owed != 1 {
		t.Error("a guess was free since another network had made it")
	}
}

// Who repeats one guess on many connections has failed once, but has not all of them
// computed at once.
func TestOneGuessOnManyConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := onRealClock()
		f.people.add(t, "look@me.com", mustHash(t, "secret"))
		at := map[time.Duration]int{}
		for _, took := range atOnce(t, f, 20, always("look@me.com"), always("wrong")) {
			at[took/leastFloor]++
		}
		for when, n := range at {
			if n > 5 {
				t.Errorf("%d refusals within half a second, after %v", n, when*leastFloor)
			}
		}
		if owed := f.failures(networksOf(home)[0]); owed != 1 {
			t.Errorf("%d failures are counted", owed)
		}
	})
}

// Whatever strangers call themselves elsewhere, a first try under a name that is no
// address does not wait.
func TestNamesThatAreNoAddressDoNotShareACount(t *testing.T) {
	f := newFixture()
	f.pretend("secret")
	for i := range 50 {
		f.login(t, elsewhere(i), "admin", guess(i))
		f.login(t, elsewhere(i), "look", guess(i))
	}
	for _, name := range []string{"look", "admin", "", "see", "look@"} {
		if took, err := f.login(t, elsewhere(1000+len(name)), name, "wrong"); !errors.Is(err, ErrRefused) || took != leastFloor {
			t.Errorf("%q: %v after %v", name, err, took)
		}
	}
}

func TestDelayIsTold(t *testing.T) {
	f := newFixture()
	f.pretend("secret")
	f.people.add(t, "look@me.com", foreign[0].hash)
	f.people.add(t, "see@me.com", foreign[0].hash)
	f.login(t, home, "look@me.com", "secret")
	for i, want := range seconds(0, 0, 1, 2) {
		_, err := f.Login(t.Context(), home, "look@me.com", guess(i)) // familiar: held back behind
		var refusal *Refusal
		if !errors.As(err, &refusal) || refusal.Delay != want {
			t.Errorf("guess %d: %+v", i, refusal)
		}
	}
	login, err := f.Login(t.Context(), home, "see@me.com", "secret") // a stranger: held back before
	if err != nil || login.Delay != 4*time.Second {
		t.Errorf("%+v: %v", login, err)
	}
	_, err = f.Login(t.Context(), home, "nobody@me.com", "wrong")
	var refusal *Refusal
	if !errors.As(err, &refusal) || refusal.Delay != 4*time.Second {
		t.Errorf("%+v", refusal)
	}
}

func TestDelayIsForgotten(t *testing.T) {
	f := newFixture()
	f.pretend("secret")
	delays(t, f, 50, from(home), always("nobody@me.com"))
	for _, want := range seconds(30, 30, 30, 30, 16, 8, 4, 2, 1, 0, 0) {
		try := f.throttle.begin(f.now(), networksOf(home), identify("other@me.com"))
		got := f.throttle.wait(f.now(), try, nil)
		f.throttle.leave(try)
		if got != want {
			t.Errorf("delay %v, want %v", got, want)
		}
		f.clock.pass(forgetFailure)
	}

	// A device with an old password that polls every five minutes disturbs
	// nobody else behind its address.
	for range 100 {
		f.clock.pass(forgetFailure)
		if took, _ := f.login(t, home, "nobody@me.com", "wrong"); took != leastFloor {
			t.Fatalf("took %v", took)
		}
	}
}

// A stranger waits whether or not the password is right, and before it is
// computed: else a guesser hangs up on whatever is not answered at once.
func TestStrangerWaitsBeforeComputation(t *testing.T) {
	f := newFixture()
	f.pretend("secret")
	f.people.add(t, "look@me.com", foreign[0].hash)
	delays(t, f, 4, from(abroad), unlike)

	ctx, cancel := context.WithCancel(t.Context())
	computed := f.computed
	f.sleep = func(ctx context.Context, _ time.Duration) error {
		cancel()
		return ctx.Err()
	}
	if _, err := f.Login(ctx, abroad, "look@me.com", "secret"); !errors.Is(err, context.Canceled) {
		t.Errorf("hung up: %v", err)
	}
	if f.computed != computed {
		t.Error("a hash was computed for who hung up")
	}
	if len(f.throttle.fromNetwork) != 0 || len(f.throttle.forName) != 0 {
		t.Error("who hung up still stands in line")
	}

	f.sleep = f.clock.sleep
	if took, err := f.login(t, abroad, "look@me.com", "secret"); err != nil || took != 4*time.Second {
		t.Errorf("the right password: %v after %v", err, took)
	}
}

// onRealClock is a fixture for a bubble of synctest, where a computation takes a
// millisecond.
func onRealClock() *fixture {
	f := newFixture()
	f.now, f.sleep = time.Now, sleep
	f.compute = func(_ passwordHash, password string) bool {
		time.Sleep(time.Millisecond)
		return password == "secret"
	}
	return f
}

// atOnce makes n logins at once, in the order of i, and returns when each was
// answered.
func atOnce(t *testing.T, f *fixture, n int, name func(i int) string, password func(i int) string) []time.Duration {
	t.Helper()
	began := time.Now()
	answered := make([]time.Duration, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			_, err := f.Login(t.Context(), home, name(i), password(i))
			if right := password(i) == "secret"; right != (err == nil) || !right && !errors.Is(err, ErrRefused) {
				t.Errorf("login %d: %v", i, err)
			}
			answered[i] = time.Since(began).Truncate(100 * time.Millisecond)
		})
		synctest.Wait()
	}
	all.Wait()
	if len(f.throttle.fromNetwork) != 0 || len(f.throttle.forName) != 0 {
		t.Error("somebody still stands in line")
	}
	return answered
}

// Fifty connections get no more guesses than one until all have waited the longest.
func TestGuessesAtOnce(t *testing.T) {
	want := append(seconds(0, 0, 1, 2, 4, 8, 16), slices.Repeat(seconds(30), 43)...)
	for i := range want {
		want[i] += leastFloor
	}
	for what, name := range map[string]func(int) string{"one name": always("look@me.com"), "many names": unlike} {
		synctest.Test(t, func(t *testing.T) {
			f := onRealClock()
			f.people.add(t, "look@me.com", mustHash(t, "secret"))
			if got := atOnce(t, f, 50, name, guess); !slices.Equal(got, want) {
				t.Errorf("%s: %v", what, got)
			}
			for _, late := range atOnce(t, f, 50, name, func(i int) string { return guess(50 + i) }) {
				if late != want[49] {
					t.Errorf("%s: again, after %v", what, late)
				}
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		f := onRealClock()
		f.people.add(t, "look@me.com", mustHash(t, "secret"))
		f.Login(t.Context(), home, "look@me.com", "secret")
		got := atOnce(t, f, 50, always("look@me.com"), guess)
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("a familiar client: %v", got)
		}
	})
}

// A household that comes at once, as after a restart, does not wait for itself,
// and a slip of one costs the others what one failure costs.
func TestHouseholdAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := onRealClock()
		hash := mustHash(t, "secret")
		for i := range 50 {
			f.people.add(t, unlike(i), hash)
		}
		slip := func(i int) string {
			if i == 0 {
				return "wrong"
			}
			return "secret"
		}
		for i, took := range atOnce(t, f, 50, unlike, slip) {
			if i > 0 && took > 0 {
				t.Errorf("login %d took %v", i, took)
			}
		}
		if owed := f.failures(networksOf(home)[0]); owed != 1 {
			t.Errorf("%d failures are counted", owed)
		}
	})
}

// Who hangs up makes room for who stands behind.
func TestHangingUpMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := onRealClock()
		began := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		for i := range 7 { // the first two fail, the others wait
			go f.Login(ctx, home, unlike(i), "wrong")
			synctest.Wait()
		}
		last := make(chan time.Duration)
		go func() {
			f.Login(t.Context(), home, unlike(7), "wrong")
			last <- time.Since(began).Truncate(100 * time.Millisecond)
		}()
		time.Sleep(500 * time.Millisecond)
		cancel()
		if got := <-last; got != time.Second+leastFloor {
			t.Errorf("answered after %v", got)
		}
	})
}

// A guesser with a mailbox of his own is not forgiven for logging in there.
func TestSuccessForgivesNothing(t *testing.T) {
	f := newFixture()
	f.pretend("secret")
	f.people.add(t, "mallory@me.com", foreign[0].hash)
	if _, err := f.login(t, abroad, "mallory@me.com", "secret"); err != nil {
		t.Fatal(err)
	}
	for i, want := range seconds(0, 0, 1, 2, 4, 8, 16, 30) {
		if took, _ := f.login(t, abroad, "look@me.com", guess(i)); took != want+leastFloor {
			t.Errorf("guess %d took %v", i, took)
		}
		if took, err := f.login(t, abroad, "mallory@me.com", "secret"); took != 0 || err != nil {
			t.Errorf("his own login took %v: %v", took, err)
		}
	}
}

// Whatever others do, with whatever clients and names, also from the owner's
// own network: the owner's password opens the mailbox at once from where it did
// within 30 days.
func TestNobodyLocksOwnerOut(t *testing.T) {
	f := newFixture()
	f.pretend("secret")
	m := f.people.add(t, "look@me.com", foreign[0].hash)
	if _, err := f.login(t, home, "look@me.com", "secret"); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	clients := []netip.Addr{home, abroad, elsewhere(1), elsewhere(2), netip.IPv6Unspecified()}
	names := []string{"look@me.com", "LOOK@me.com", "nobody@me.com", "look", ""}
	for i := range 2000 {
		if _, err := f.login(t, clients[random.IntN(len(clients))], names[random.IntN(len(names))], guess(i)); !errors.Is(err, ErrRefused) {
			t.Fatal(err)
		}
		if i%100 == 0 { // also without the memory of verified logins
			f.memory.verified = bounded.NewTable[digest, time.Time](rememberCount)
			f.people.setHash(t, m, foreign[i/100%2].hash)
		}
		if took, err := f.login(t, home, "look@me.com", "secret"); err != nil || took != 0 {
			t.Fatalf("after %d guesses the owner waited %v: %v", i+1, took, err)
		}
	}

	// From a new network the owner waits a while, but gets in, and only once.
	if took, err := f.login(t, elsewhere(99), "look@me.com", "secret"); err != nil || took != maxNameDelay {
		t.Errorf("on a new network: %v after %v", err, took)
	}
	if took, err := f.login(t, elsewhere(99), "look@me.com", "secret"); err != nil || took != 0 {
		t.Errorf("again: %v after %v", err, took)
	}
}

// The owner's own mistakes at home do not slow the owner down on the road.
func TestFamiliarFailuresDoNotCountForName(t *testing.T) {
	f := newFixture()
	f.pretend("secret")
	f.people.add(t, "look@me.com", foreign[0].hash)
	f.login(t, home, "look@me.com", "secret")
	if got := delays(t, f, 4, from(home), always("look@me.com")); !slices.Equal(got, seconds(0, 0, 1, 2)) {
		t.Errorf("at home: %v", got)
	}
	if took, err := f.login(t, abroad, "look@me.com", "secret"); err != nil || took != 0 {
		t.Errorf("on the road: %v after %v", err, took)
	}
}

func TestFamiliarityIsForgotten(t *testing.T) {
	f := newFixture()
	address := identify("look@me.com")
	f.throttle.succeeded(f.now(), f.throttle.begin(f.now(), networksOf(home), address))
	f.clock.pass(familiarFor - 1)
	if f.throttle.begin(f.now(), networksOf(home), address).stranger != nil {
		t.Error("forgotten too early")
	}
	if f.throttle.begin(f.now(), networksOf(home), identify("see@me.com")).stranger == nil {
		t.Error("familiar to another mailbox")
	}
	f.clock.pass(1)
	if f.throttle.begin(f.now(), networksOf(home), address).stranger == nil {
		t.Error("still familiar after 30 days")
	}
}

func TestTablesAreBounded(t *testing.T) {
	f := newFixture()
	f.pretend("secret")
	for i := range 3 * failureEntries {
		f.Login(t.Context(), elsewhere(i), unlike(i), "wrong")
	}
	for what, n := range map[string]int{
		"networks": f.throttle.networks.Len(),
		"names":    f.throttle.names.Len(),
		"guesses":  f.throttle.guesses.Len(),
	} {
		if n > 2*failureEntries || n < failureEntries {
			t.Errorf("%d %s are kept", n, what)
		}
	}
	if n := f.memory.verified.Len() + f.throttle.familiar.Len(); n != 0 {
		t.Errorf("%d failures are remembered as successes", n)
	}
}
