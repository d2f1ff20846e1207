package auth

import (
	"sync/atomic"
	"time"
)

// Bounds of the floor: what a hash made here stays well below, and what no
// client should have to wait, whatever held a computation up.
const (
	leastFloor = 500 * time.Millisecond
	mostFloor  = 10 * time.Second
)

// floor is the time before which no refusal is answered, so that all last the
// same. Hashes from other systems cost what those chose: the floor rises above
// the dearest that was computed, or mailboxes that have one would stand out.
type floor struct{ raised atomic.Int64 }

func (f *floor) get() time.Duration {
	return min(max(leastFloor, time.Duration(f.raised.Load())), mostFloor)
}

// raise lifts the floor above a computation that took so long.
func (f *floor) raise(took time.Duration) {
	took += took / 4 // no two take exactly the same
	for {
		old := f.raised.Load()
		if int64(took) <= old || f.raised.CompareAndSwap(old, int64(took)) {
			return
		}
	}
}
