package load

import (
	"errors"
	"slices"
	"sync"
	"time"
)

// Result is the result of a run.
type Result struct {
	Operations int // messages accepted or fetched, or sessions if none is fetched
	Errors     int
	FirstError error
	Octets     int64 // of messages, as sent or as fetched
	Began      time.Time
	Elapsed    time.Duration   // until the end of the last operation
	Latencies  []time.Duration // of each operation, in ascending order
}

// Rate returns operations per second.
func (r *Result) Rate() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Operations) / r.Elapsed.Seconds()
}

// Latency returns the quantile q of the latencies, or 0 without operations.
func (r *Result) Latency(q float64) time.Duration {
	if len(r.Latencies) == 0 {
		return 0
	}
	return r.Latencies[min(int(q*float64(len(r.Latencies))), len(r.Latencies)-1)]
}

// Err returns an error if an operation failed or none was done.
func (r *Result) Err() error {
	switch {
	case r.FirstError != nil:
		return r.FirstError
	case r.Operations == 0:
		return errors.New("nothing was done")
	}
	return nil
}

// tally is the result of one worker.
type tally struct {
	operations int
	errors     int
	first      error
	octets     int64
	last       time.Time
	latencies  []time.Duration
}

func (t *tally) done(began time.Time, octets int) {
	t.last = time.Now()
	t.operations++
	t.octets += int64(octets)
	t.latencies = append(t.latencies, t.last.Sub(began))
}

func (t *tally) failed(err error) {
	t.errors++
	if t.first == nil {
		t.first = err
	}
}

// maxErrors is how many errors end a worker, since the server does not work.
const maxErrors = 20

// gather runs workers concurrently and adds up their results.
func gather(workers int, work func(worker int, t *tally)) Result {
	tallies := make([]tally, workers)
	r := Result{Began: time.Now()}
	var group sync.WaitGroup
	for w := range tallies {
		tallies[w].latencies = make([]time.Duration, 0, 4096)
		group.Go(func() { work(w, &tallies[w]) })
	}
	group.Wait()
	end := r.Began
	for _, t := range tallies {
		r.Operations += t.operations
		r.Errors += t.errors
		r.Octets += t.octets
		if r.FirstError == nil {
			r.FirstError = t.first
		}
		if t.last.After(end) {
			end = t.last
		}
		r.Latencies = append(r.Latencies, t.latencies...)
	}
	r.Elapsed = end.Sub(r.Began)
	slices.Sort(r.Latencies)
	return r
}
