package auth

import (
	"sync"
	"time"
)

// Bounds of the floor: what a hash made here stays well below, and what no
// client should have to wait, whatever held a computation up.
const (
	leastFloor = 500 * time.Millisecond
	mostFloor  = 10 * time.Second
)

// floorHalves is in what time the floor falls to half, when nothing holds it up.
const floorHalves = 5 * time.Minute

// floor is the time before which no refusal is answered, so that all last the
// same. Hashes from other systems cost what those chose: the floor rises above
// the dearest that was computed, or mailboxes that have one would stand out. It falls
// again, so that one guess does not make everybody's refusals late for good: who
// guesses at such a mailbox after a rest may see that its hash is dear, as the first
// one could.
type floor struct {
	mu     sync.Mutex
	raised time.Duration // as of then
	then   time.Time
}

// get is the floor now.
func (f *floor) get(now time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return min(max(leastFloor, f.at(now)), mostFloor)
}

// raise lifts the floor above a computation that took so long.
func (f *floor) raise(now time.Time, took time.Duration) {
	took += took / 4 // no two take exactly the same
	f.mu.Lock()
	defer f.mu.Unlock()
	if took > f.at(now) {
		f.raised, f.then = min(took, mostFloor), now
	}
}

// at is what is left of what the floor was raised to.
func (f *floor) at(now time.Time) time.Duration {
	halvings := max(now.Sub(f.then), 0) / floorHalves
	if halvings > 30 {
		return 0
	}
	return f.raised >> halvings
}
