package main

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

const (
	// heapFloor is how much memory may be in use, in octets, before the garbage
	// collector works for the first time. Go's own rule, twice what is live, has
	// a small server collect for every few messages: a quarter of the time of a
	// fetch.
	heapFloor = 32 << 20
	// leastHeap is below what the runtime collects nothing at 100 percent; it scales
	// with them.
	leastHeap = 4 << 20
	// A server that has allocated less than restOctets within restEvery is at
	// rest, and gives back to the system what it does not need, if that is more
	// than spareOctets.
	restEvery   = 2 * time.Second
	restOctets  = 1 << 20
	spareOctets = 2 << 20
)

// heap is the policy of the garbage collector.
type heap struct {
	floor     uint64
	mu        sync.Mutex
	stopped   bool
	percent   int    // as set
	allocated uint64 // in the process's life, at the last look
}

// startHeap begins the policy, unless GOGC says that there is another; stop ends it.
func startHeap(gogc string) (stop func()) {
	if gogc != "" {
		return func() {}
	}
	h := &heap{floor: heapFloor}
	h.afterCollection(&collected{})
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(restEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				h.look()
			case <-end:
				return
			}
		}
	}()
	return func() {
		close(end)
		<-ended
		h.mu.Lock()
		defer h.mu.Unlock()
		h.stopped = true
		debug.SetGCPercent(100)
	}
}

// collected is garbage: its finalizer runs after each collection.
type collected struct{ _ *byte }

// afterCollection lets the heap grow to the floor before the next collection, or
// to twice what is live.
func (h *heap) afterCollection(c *collected) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped {
		return
	}
	live, roots := read("/gc/heap/live:bytes"), read("/gc/scan/globals:bytes")+read("/gc/scan/stack:bytes")
	percent := 100
	if 2*live+roots < h.floor {
		percent = int(min((h.floor-live)*100/(live+roots), h.floor*100/leastHeap))
	}
	if math.Abs(float64(percent-h.percent)) > float64(h.percent)/10 {
		h.percent = percent
		debug.SetGCPercent(percent)
	}
	runtime.SetFinalizer(c, h.afterCollection)
}

// look gives memory back when the server is at rest, and reports whether it did.
func (h *heap) look() bool {
	allocated := read("/gc/heap/allocs:bytes")
	rest := allocated-h.allocated < restOctets
	h.allocated = allocated
	held := read("/memory/classes/heap/objects:bytes") + read("/memory/classes/heap/free:bytes")
	if !rest || held < read("/gc/heap/live:bytes")+spareOctets {
		return false
	}
	debug.FreeOSMemory()
	return true
}

// read is one of the runtime's metrics that count.
func read(name string) uint64 {
	sample := []metrics.Sample{{Name: name}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
