package proof

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// scale returns how much of something a test does: the value of the variable, or short.
func scale(t *testing.T, variable string, short int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return short
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q: give a number above 0", variable, text)
	}
	return n
}

// dice returns the random choices of one test. It logs the seed, with which they can be
// repeated; the timing of processes cannot.
func dice(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("PROOF_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("PROOF_SEED: %v", err)
		}
	}
	t.Logf("PROOF_SEED=%d repeats the choices", seed)
	return rand.New(rand.NewPCG(seed, seed))
}

// fork returns random choices for another goroutine.
func fork(r *rand.Rand) *rand.Rand { return rand.New(rand.NewPCG(r.Uint64(), r.Uint64())) }

// between returns a duration from low up to high.
func between(r *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(r.Int64N(int64(high-low)+1))
}

// await waits until a condition holds.
func await(t *testing.T, limit time.Duration, what string, holds func() bool) {
	t.Helper()
	if !within(limit, holds) {
		t.Fatalf("waited %v in vain for %s", limit, what)
	}
}

// within waits until a condition holds and reports whether it did within the limit.
func within(limit time.Duration, holds func() bool) bool {
	for deadline := time.Now().Add(limit); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}
