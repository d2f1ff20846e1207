package auth

import (
	"context"
	"runtime"
)

// maxQueue is how many computations may wait for a core.
const maxQueue = 64

// queue runs as many computations at once as there are cores: more would only
// take memory (19 MiB each) and the time of deliveries.
type queue struct {
	places chan struct{} // taken by who waits or computes
	cores  chan struct{} // taken by who computes
}

func newQueue() queue {
	cores := runtime.GOMAXPROCS(0)
	return queue{
		places: make(chan struct{}, cores+maxQueue),
		cores:  make(chan struct{}, cores),
	}
}

// do runs f when a core is free. ErrBusy if the queue is full, or the context's
// error if that ends first; f has not run then.
func (q queue) do(ctx context.Context, f func()) error {
	select {
	case q.places <- struct{}{}:
	default:
		return ErrBusy
	}
	defer func() { <-q.places }()
	select {
	case q.cores <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-q.cores }()
	f()
	return nil
}
