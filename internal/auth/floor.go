package auth

import (
	"sync"
	"time"
)

// Bounds of the floor. A hash made here takes well below leastFloor; no client should have
// to wait longer than mostFloor, whatever delayed a computation.
const (
	leastFloor = 500 * time.Millisecond
	mostFloor  = 10 * time.Second
)

// floorHalves is the time in which the floor falls to half, if nothing raises it.
const floorHalves = 5 * time.Minute

// floor is the least time that a refusal takes, so that all take the same. Hashes from
// other systems may cost more than ours: the floor rises above the most expensive one that
// was computed, or else mailboxes that have one would stand out.
//
// The floor falls again, so that one guess does not delay everybody's refusals for good.
// The price: a guess at such a mailbox after a rest may show that its hash is expensive, as
// the first guess could. All methods are safe for concurrent use.
type floor struct {
	mu     sync.Mutex
	raised time.Duration // the floor at the time then
	then   time.Time
}

// get returns the floor now.
func (f *floor) get(now time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return min(max(leastFloor, f.at(now)), mostFloor)
}

// raise lifts the floor above a computation that took the time took.
func (f *floor) raise(now time.Time, took time.Duration) {
	took += took / 4 // no two take exactly the same
	f.mu.Lock()
	defer f.mu.Unlock()
	if took > f.at(now) {
		f.raised, f.then = min(took, mostFloor), now
	}
}

// at returns what is left at a time of the value that the floor was raised to.
func (f *floor) at(now time.Time) time.Duration {
	halvings := max(now.Sub(f.then), 0) / floorHalves
	if halvings > 30 {
		return 0
	}
	return f.raised >> halvings
}
