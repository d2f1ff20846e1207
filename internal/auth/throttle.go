package auth

import (
	"hash/maphash"
	"net/netip"
	"slices"
	"sync"
	"time"

	"mailsrv/internal/bounded"
)

const (
	freeFailures  = 2                // without a delay
	firstDelay    = time.Second      // doubled by each further failure, up to:
	maxDelay      = 30 * time.Second // for a network
	maxNameDelay  = 15 * time.Second // for a name: an owner on a new network still gets in before his program gives up
	maxSiteDelay  = maxNameDelay     // for a site, where others have failed
	forgetFailure = 5 * time.Minute  // one failure is forgotten in this time
	maxFailures   = 10               // counted
	sameGuess     = time.Minute      // the same guess again within this time is no further failure
	familiarFor   = 30 * 24 * time.Hour

	failureEntries  = 10_000
	familiarEntries = 100_000
)

// throttle slows down clients that guess. Failures are counted per network of the client;
// for IPv6 also per site, where several count as one; and per name, whether or not there
// is such a mailbox. The count of the name concerns strangers alone, so that nobody can
// lock an owner out. A name that is no address cannot open any mailbox: it is counted for
// its network alone.
//
// The same guess again within a minute is the same failure: programs try each mechanism
// with the password that their owner typed once. It does count in the line until its
// refusal has been sent, so that a program that repeats itself on many connections causes
// only a few hashes per second.
//
// Strangers stand in line until their password has been checked, and each one ahead delays
// those behind as a failure does. So parallel guesses are no cheaper than guesses one after
// the other, while a client behind logins that succeed moves up and waits for none of them.
//
// N connections from a network, or for a name, get two guesses at once, one after each of
// 1, 2, 4, 8 and 16 s, and the rest after the longest delay; from then on N in each longest
// delay, since nobody waits longer. A familiar client gets its refusals with the same
// delay: N guesses in the same time.
type throttle struct {
	seed maphash.Seed

	mu          sync.Mutex
	networks    *bounded.Table[netip.Prefix, debt]
	names       *bounded.Table[uint64, debt]      // by digest of the name
	guesses     *bounded.Table[digest, time.Time] // when each was counted
	familiar    *bounded.Table[uint64, time.Time] // last success, by digest of network and address, and of network
	fromNetwork line[netip.Prefix]
	forName     line[uint64]
}

func newThrottle() *throttle {
	return &throttle{
		seed:     maphash.MakeSeed(),
		networks: bounded.NewTable[netip.Prefix, debt](failureEntries),
		names:    bounded.NewTable[uint64, debt](failureEntries),
		guesses:  bounded.NewTable[digest, time.Time](failureEntries),
		familiar: bounded.NewTable[uint64, time.Time](familiarEntries),

		fromNetwork: line[netip.Prefix]{},
		forName:     line[uint64]{},
	}
}

// attempt is one login as the throttle sees it.
type attempt struct {
	networks []network // the narrowest first
	name     uint64
	pair     uint64 // of network and name
	home     uint64 // of network
	begun    time.Time
	stranger *stranger // nil: the pair has logged in within 30 days
	known    bool      // somebody has logged in from the network within 30 days
}

// begin puts a stranger in line. The caller must call leave in any case.
func (t *throttle) begin(now time.Time, networks []network, who identity) attempt {
	type pair struct {
		network netip.Prefix
		who     identity
	}
	narrow := networks[0].prefix
	a := attempt{
		networks: networks, begun: now,
		pair: maphash.Comparable(t.seed, pair{narrow, who}), home: maphash.Comparable(t.seed, narrow),
	}
	if a.name = a.pair; !who.address.IsZero() {
		a.name = maphash.Comparable(t.seed, who.address)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	a.known = t.isFamiliar(now, a.home)
	if !t.isFamiliar(now, a.pair) {
		a.stranger = &stranger{}
		for _, n := range networks {
			t.fromNetwork[n.prefix] = append(t.fromNetwork[n.prefix], a.stranger)
		}
		t.forName[a.name] = append(t.forName[a.name], a.stranger)
	}
	return a
}

func (t *throttle) isFamiliar(now time.Time, of uint64) bool {
	last, known := t.familiar.Get(of)
	return known && now.Sub(last) < familiarFor
}

// wait returns how long a stranger has to wait from now on. wake is called when that may
// have become less.
func (t *throttle) wait(now time.Time, a attempt, wake func()) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	a.stranger.wake = wake
	name, _ := t.names.Get(a.name)
	delay := name.delay(now, t.forName.before(a.name, a.stranger), maxNameDelay)
	for _, n := range a.networks {
		before := t.fromNetwork.before(n.prefix, a.stranger) / n.share
		delay = max(delay, t.delay(now, n, before))
	}
	return a.begun.Add(delay).Sub(now)
}

// delay returns the delay for the failures of a network so far and the given number more.
func (t *throttle) delay(now time.Time, n network, more int) time.Duration {
	most := maxDelay
	if n.share > 1 {
		most = maxSiteDelay
	}
	owed, _ := t.networks.Get(n.prefix)
	return owed.delay(now, more, most)
}

// leave takes a stranger out of the line, if it still is in it.
func (t *throttle) leave(a attempt) {
	if a.stranger == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.step(a)
}

// step takes a stranger out of all lines.
func (t *throttle) step(a attempt) {
	for _, n := range a.networks {
		t.fromNetwork.leave(n.prefix, a.stranger, n.share)
	}
	t.forName.leave(a.name, a.stranger, 1)
}

// succeeded makes the network familiar to the mailbox. It forgives no failures: otherwise a
// guesser with a mailbox of his own would log in there between guesses.
func (t *throttle) succeeded(now time.Time, a attempt) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.familiar.Put(a.pair, now)
	t.familiar.Put(a.home, now)
}

// failed counts a refusal and takes the stranger out of the line, unless the same guess was
// counted within a minute. It returns how long the refusal is held back from a familiar
// client, which has not waited.
func (t *throttle) failed(now time.Time, a attempt, guess digest) (held time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	counted, known := t.guesses.Get(guess)
	again := known && now.Sub(counted) < sameGuess
	for _, n := range a.networks {
		if a.stranger == nil {
			held = max(held, t.delay(now, n, 0)) // as it was before this one
		}
		if !again {
			owed, _ := t.networks.Get(n.prefix)
			t.networks.Put(n.prefix, owed.add(now, n.share))
		}
	}
	if again {
		return held
	}
	t.guesses.Put(guess, now)
	if a.stranger != nil {
		name, _ := t.names.Get(a.name)
		t.names.Put(a.name, name.add(now, 1))
		t.step(a)
	}
	return held
}

// stranger is one attempt in line.
type stranger struct{ wake func() }

// line holds the strangers whose passwords have not been checked, in order of arrival.
type line[K comparable] map[K][]*stranger

func (l line[K]) before(k K, s *stranger) int { return slices.Index(l[k], s) }

// leave takes s out of the line and lets those behind it move up. share of them count as
// one.
func (l line[K]) leave(k K, s *stranger, share int) {
	i := slices.Index(l[k], s)
	if i < 0 {
		return
	}
	if l[k] = slices.Delete(l[k], i, i+1); len(l[k]) == 0 {
		delete(l, k)
	}
	for ; i < min(len(l[k]), maxFailures*share); i++ { // further behind all wait the longest
		if wake := l[k][i].wake; wake != nil {
			wake()
		}
	}
}

// debt is a number of failures that shrinks with time. It is kept as the moment when the
// last failure is forgotten.
type debt struct{ until time.Time }

func (d debt) failures(now time.Time) int {
	left := d.until.Sub(now)
	return int((max(left, 0) + forgetFailure - 1) / forgetFailure)
}

// add returns the debt with one failure more, of which share count as one.
func (d debt) add(now time.Time, share int) debt {
	until := now
	if d.until.After(now) {
		until = d.until
	}
	until = until.Add(forgetFailure / time.Duration(share))
	if most := now.Add(maxFailures * forgetFailure); until.After(most) {
		until = most
	}
	return debt{until}
}

// delay returns the delay for the failures so far and the given number more, at most most.
func (d debt) delay(now time.Time, more int, most time.Duration) time.Duration {
	n := min(d.failures(now)+more, maxFailures)
	if n < freeFailures {
		return 0
	}
	return min(firstDelay<<(n-freeFailures), most)
}
