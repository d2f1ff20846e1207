package commit

import (
	"errors"
	"sync"

	"mailsrv/internal/buffers"
)

// MaxBatch is the most changes that one batch takes.
const MaxBatch = 512

// Bounds of one batch.
const (
	maxBatchRows   = 2048     // rows added, unless one change alone brings more
	maxBatchOctets = 16 << 20 // octets of content; less if the reserve is small
	maxBatchStaged = 1 << 20  // octets of unfinished transfers, taken after complete deliveries
)

// errClosed is the outcome of changes that come after Close.
var errClosed = errors.New("the store is closed")

// queue holds the changes that wait for the engine. All methods are safe for concurrent
// use.
type queue struct {
	wake chan struct{} // has a value when the engine has something to look at

	mu      sync.Mutex
	changes []*Change // complete changes
	staged  []*Change // chunks of unfinished transfers
	closed  bool
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

// add appends a change. It returns errClosed if the queue is closed.
func (q *queue) add(change *Change) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return errClosed
	case change.Effect.Kind == Stage:
		q.staged = append(q.staged, change)
	default:
		q.changes = append(q.changes, change)
	}
	q.signal()
	return nil
}

// close makes add refuse changes. The waiting ones are still taken.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.signal()
}

// signal wakes the engine. It never blocks.
func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// state reports whether changes wait, and whether no more will come.
func (q *queue) state() (some, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.changes)+len(q.staged) > 0, q.closed
}

// take makes a batch of the waiting changes. It brings at most octets of content and rows
// added rows, unless the first change alone brings more.
func (q *queue) take(octets, rows int64) []*Change {
	q.mu.Lock()
	defer q.mu.Unlock()
	var batch []*Change
	q.changes = takeFrom(q.changes, &batch, MaxBatch-1, &octets, &rows)
	octets = max(min(octets, maxBatchStaged), buffers.Max) // at least one chunk, so that a transfer always goes on
	q.staged = takeFrom(q.staged, &batch, MaxBatch, &octets, &rows)
	return batch
}

// takeFrom moves changes to the batch until it has count changes, or the octets or the
// rows are used up, and returns the rest. An empty batch takes any change.
func takeFrom(from []*Change, batch *[]*Change, count int, octets, rows *int64) []*Change {
	for i, change := range from {
		if len(*batch) >= count || len(*batch) > 0 && (change.Effect.Octets > *octets || change.Effect.Rows > max(0, *rows)) {
			return append(from[:0], from[i:]...)
		}
		if change.state.CompareAndSwap(waiting, taken) {
			*batch = append(*batch, change)
			*octets -= change.Effect.Octets
			*rows -= change.Effect.Rows
		}
		from[i] = nil
	}
	return from[:0]
}
