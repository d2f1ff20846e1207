package sqlite

import (
	"context"
	"sync"
	"time"

	"mailsrv/storage"
)

// stagingWait is how long a transfer waits until the octets of broken off transfers are
// freed. A client would not wait longer while it sends content.
const stagingWait = 30 * time.Second

// staging bounds the octets that transfers have staged: those of unfinished transfers, and
// those of broken off transfers until they are freed. All methods are safe for concurrent
// use.
type staging struct {
	most int64 // octets; 0: no limit

	mu     sync.Mutex
	held   int64         // octets of all transfers
	broken int64         // octets of broken off transfers
	change chan struct{} // closed when a new try is worthwhile; nil: nobody waits
}

// take adds octets that are about to be staged. If there is no room, but freeing broken off
// transfers would make room, it waits for that. Errors: storage.ErrStagedFull, or the
// context's.
func (s *staging) take(ctx context.Context, octets int64) error {
	var late <-chan time.Time
	for {
		change, err := s.tryTake(octets)
		if change == nil {
			return err
		}
		if late == nil {
			timer := time.NewTimer(stagingWait)
			defer timer.Stop()
			late = timer.C
		}
		select {
		case <-change:
		case <-late:
			return storage.ErrStagedFull
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tryTake adds octets. If it must wait it returns a channel that is closed when a new try is
// worthwhile.
func (s *staging) tryTake(octets int64) (change chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.most <= 0 || s.held+octets <= s.most:
		s.held += octets
		return nil, nil
	case s.held-s.broken+octets > s.most:
		return nil, storage.ErrStagedFull
	}
	if s.change == nil {
		s.change = make(chan struct{})
	}
	return s.change, nil
}

// end subtracts octets that are mail now, or that were not staged after all.
func (s *staging) end(octets int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held -= octets
	s.tell()
}

// breakOff notes that staged octets will not become mail. They count until free.
func (s *staging) breakOff(octets int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken += octets
	s.tell() // a take that would have failed may now wait
}

// found adds octets of broken off transfers that an earlier run has left.
func (s *staging) found(octets int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held += octets
	s.broken += octets
}

// free subtracts octets of broken off transfers that were freed.
func (s *staging) free(octets int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held -= octets
	s.broken -= octets
	s.tell()
}

// freeBroken subtracts all octets of broken off transfers.
func (s *staging) freeBroken() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held -= s.broken
	s.broken = 0
	s.tell()
}

// tell wakes those who wait in take. The caller holds mu.
func (s *staging) tell() {
	if s.change != nil {
		close(s.change)
		s.change = nil
	}
}

// octets returns the octets of all transfers.
func (s *staging) octets() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held
}
