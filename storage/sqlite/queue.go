package sqlite

import (
	"errors"
	"sync"
	"sync/atomic"

	"mailsrv/internal/buffers"
)

// Bounds of one batch.
const (
	maxBatch       = 512      // jobs
	maxBatchOctets = 16 << 20 // content; less where the reserve is small
	maxBatchStaged = 1 << 20  // that of unfinished transfers, after all complete deliveries
)

// errClosed answers what comes after Close.
var errClosed = errors.New("the store is closed")

// job is one change. apply runs inside a transaction that other jobs share; it
// may run twice, the second time alone. A refusal leaves every row as it was
// and is told through outcome; an error of apply rolls the transaction back.
type job struct {
	apply    func(*conn) error
	outcome  error      // set by apply; nil: done
	octets   int64      // of content
	staged   bool       // of an unfinished transfer: may wait for deliveries
	frees    bool       // removes mail: may use the space reserved for that
	again    bool       // nobody waits for it: what fails is tried again later
	arrivals int64      // how many it adds; less than 0: takes away
	narrow   bool       // changes no more of the cache than counted says
	counted  []counters // as they are after apply, of the maildrops it changed
	state    atomic.Int32
	done     chan error
}

const (
	jobWaiting int32 = iota
	jobTaken
	jobWithdrawn
)

// queue is what waits for the committer. All methods are safe for concurrent use.
type queue struct {
	wake chan struct{} // has a value when there is something to look at

	mu     sync.Mutex
	jobs   []*job // complete changes
	staged []*job // chunks of unfinished transfers
	closed bool
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

// add appends a job, unless the queue is closed: errClosed.
func (q *queue) add(j *job) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return errClosed
	case j.staged:
		q.staged = append(q.staged, j)
	default:
		q.jobs = append(q.jobs, j)
	}
	q.signal()
	return nil
}

// close lets nothing more in. What waits is still taken.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.signal()
}

// signal wakes the committer.
func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// state reports whether jobs wait, and whether no more will come.
func (q *queue) state() (waiting, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.jobs)+len(q.staged) > 0, q.closed
}

// take makes a batch of what waits: no more octets of content and no more arrivals
// than given, unless the first job alone brings more.
func (q *queue) take(octets, arrivals int64) []*job {
	q.mu.Lock()
	defer q.mu.Unlock()
	var batch []*job
	q.jobs = takeFrom(q.jobs, &batch, maxBatch-1, &octets, &arrivals)
	octets = max(min(octets, maxBatchStaged), buffers.Max) // a chunk at least: nobody starves
	q.staged = takeFrom(q.staged, &batch, maxBatch, &octets, &arrivals)
	return batch
}

// takeFrom moves jobs to the batch until it has count jobs, or the octets or the
// arrivals are used up, and returns the rest. A batch of nothing else takes any job.
func takeFrom(from []*job, batch *[]*job, count int, octets, arrivals *int64) []*job {
	for i, j := range from {
		if len(*batch) >= count || len(*batch) > 0 && (j.octets > *octets || j.arrivals > max(0, *arrivals)) {
			return append(from[:0], from[i:]...)
		}
		if j.state.CompareAndSwap(jobWaiting, jobTaken) {
			*batch = append(*batch, j)
			*octets -= j.octets
			*arrivals -= j.arrivals
		}
		from[i] = nil
	}
	return from[:0]
}
