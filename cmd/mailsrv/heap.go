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
	// heapFloor is the memory, in octets, that may be in use before the garbage
	// collector runs. With Go's own rule, twice the live memory, a small server
	// would collect every few messages: a quarter of the time of a fetch.
	heapFloor = 32 << 20
	// leastHeap is the heap, in octets, below which the runtime does not collect at
	// 100 percent. It scales with the percentage.
	leastHeap = 4 << 20
	// A server that has allocated less than restOctets within restEvery is at rest. It
	// then returns unused memory to the system, if that is more than spareOctets.
	restEvery   = 2 * time.Second
	restOctets  = 1 << 20
	spareOctets = 2 << 20
)

// heap sets the garbage collector's percentage and returns unused memory.
type heap struct {
	floor     uint64
	mu        sync.Mutex
	stopped   bool
	percent   int    // as set
	allocated uint64 // octets since the process began, at the last look
}

// startHeap starts the heap policy, unless GOGC sets another one. stop ends it.
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

// collected is an object without references: its finalizer runs after each collection.
type collected struct{ _ *byte }

// afterCollection lets the heap grow to the floor before the next collection, or to twice
// the live memory if that is more.
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

// look returns memory to the system if the server is at rest, and reports whether it did.
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

// read returns the value of one of the runtime's uint64 metrics.
func read(name string) uint64 {
	sample := []metrics.Sample{{Name: name}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
