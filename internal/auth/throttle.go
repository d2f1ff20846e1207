package auth

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"mailsrv/internal/mail"
)

const (
	freeFailures  = 2                // without a delay
	firstDelay    = time.Second      // doubled by each further failure, up to:
	maxDelay      = 30 * time.Second // for a network
	maxNameDelay  = 15 * time.Second // for a name: an owner on a new network still gets in before his program gives up
	forgetFailure = 5 * time.Minute  // one failure is forgotten in this time
	maxFailures   = 10               // counted
	familiarFor   = 30 * 24 * time.Hour

	failureEntries  = 10_000
	familiarEntries = 100_000
)

// throttle slows down who guesses. Failures are counted per network of the
// client and per name, whether or not there is such a mailbox; the count of the
// name concerns strangers alone, so that nobody can lock an owner out.
type throttle struct {
	seed maphash.Seed

	mu       sync.Mutex
	networks table[netip.Prefix, debt]
	names    table[uint64, debt]      // by digest of the address
	familiar table[uint64, time.Time] // last success, by digest of network and address
}

func newThrottle() *throttle {
	return &throttle{
		seed:     maphash.MakeSeed(),
		networks: newTable[netip.Prefix, debt](failureEntries),
		names:    newTable[uint64, debt](failureEntries),
		familiar: newTable[uint64, time.Time](familiarEntries),
	}
}

// attempt is one login as the throttle sees it.
type attempt struct {
	network  netip.Prefix
	name     uint64
	pair     uint64 // of network and name
	familiar bool   // the pair has logged in within 30 days
	delay    time.Duration
}

// begin says how long an attempt has to wait.
func (t *throttle) begin(now time.Time, network netip.Prefix, name mail.Address) attempt {
	type pair struct {
		network netip.Prefix
		name    mail.Address
	}
	a := attempt{
		network: network,
		name:    maphash.Comparable(t.seed, name),
		pair:    maphash.Comparable(t.seed, pair{network, name}),
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	last, known := t.familiar.get(a.pair)
	a.familiar = known && now.Sub(last) < familiarFor
	owed, _ := t.networks.get(network)
	a.delay = owed.delay(now, maxDelay)
	if !a.familiar {
		owed, _ := t.names.get(a.name)
		a.delay = max(a.delay, owed.delay(now, maxNameDelay))
	}
	return a
}

// succeeded makes the network familiar to the mailbox. It forgives nothing:
// else a guesser with a mailbox of his own would log in there between guesses.
func (t *throttle) succeeded(now time.Time, a attempt) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.familiar.put(a.pair, now)
}

// failed counts a refusal.
func (t *throttle) failed(now time.Time, a attempt) {
	t.mu.Lock()
	defer t.mu.Unlock()
	owed, _ := t.networks.get(a.network)
	t.networks.put(a.network, owed.add(now))
	if !a.familiar {
		owed, _ := t.names.get(a.name)
		t.names.put(a.name, owed.add(now))
	}
}

// debt is a number of failures that shrinks with time, kept as the moment when
// the last one is forgotten.
type debt struct{ until time.Time }

func (d debt) failures(now time.Time) int {
	left := d.until.Sub(now)
	return int((max(left, 0) + forgetFailure - 1) / forgetFailure)
}

func (d debt) add(now time.Time) debt {
	until := now
	if d.until.After(now) {
		until = d.until
	}
	until = until.Add(forgetFailure)
	if most := now.Add(maxFailures * forgetFailure); until.After(most) {
		until = most
	}
	return debt{until}
}

func (d debt) delay(now time.Time, most time.Duration) time.Duration {
	n := d.failures(now)
	if n < freeFailures {
		return 0
	}
	return min(firstDelay<<(n-freeFailures), most)
}
