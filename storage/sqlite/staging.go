package sqlite

import (
	"context"
	"sync"
	"time"

	"mailsrv/storage"
)

// stagingWait is how long a transfer waits for what others have broken off to be freed.
// Its client waits no longer for a reply within its content.
const stagingWait = 30 * time.Second

// staging bounds the octets that transfers have staged: those of unfinished ones, and of
// those broken off until they are free. It is safe for concurrent use.
type staging struct {
	most int64 // 0: no limit

	mu     sync.Mutex
	held   int64         // of all
	broken int64         // of those broken off
	change chan struct{} // closed when some are free; nil: nobody waits
}

// take counts octets in that are about to be staged. It waits where freeing what was
// broken off makes room. storage.ErrStagedFull; the context's error.
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

// tryTake counts octets in, or returns what is closed when it is worth another try.
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

// end counts octets out that are mail now, or were not staged after all.
func (s *staging) end(octets int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held -= octets
	s.tell()
}

// breakOff says that staged octets will not become mail. They count until free is told
// of them.
func (s *staging) breakOff(octets int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken += octets
	s.tell() // where all that was missing is that they might be waited for
}

// found counts octets in that an earlier run has left behind, broken off.
func (s *staging) found(octets int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held += octets
	s.broken += octets
}

// free counts octets out that were broken off and are free.
func (s *staging) free(octets int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held -= octets
	s.broken -= octets
	s.tell()
}

// freeBroken counts out all that was broken off.
func (s *staging) freeBroken() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held -= s.broken
	s.broken = 0
	s.tell()
}

// tell wakes those who wait. mu is held.
func (s *staging) tell() {
	if s.change != nil {
		close(s.change)
		s.change = nil
	}
}

// octets is how many count.
func (s *staging) octets() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held
}
