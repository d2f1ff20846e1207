package delivery

import (
	"context"
	"errors"
	"time"

	"mailsrv/internal/buffers"
	"mailsrv/storage"
)

// stagingWait is how long a message waits for staging that others hold.
const stagingWait = 30 * time.Second

// newStaging returns what all transfers may stage together. A message of any size fits
// into the share of one client network. nil: there is no limit.
func newStaging(maxStaged, maxMessage int64) *buffers.Total {
	if maxStaged == 0 {
		return nil
	}
	return buffers.NewTotal(maxStaged, maxMessage, stagingWait)
}

// staged fills a body, and counts what the store stages of it: all but the last buffer.
// The store has the same limit, but does not know whose transfer it is.
type staged struct {
	body  storage.Body
	ctx   context.Context
	total *buffers.Total // nil: not counted
	taken int64
	room  int64 // octets that may still be written without taking more
}

// Write implements io.Writer. Errors: as the body's.
func (s *staged) Write(p []byte) (int, error) {
	if s.room -= int64(len(p)); s.room >= 0 || s.total == nil {
		return s.body.Write(p)
	}
	for s.body.Octets()+int64(len(p)) > s.taken+buffers.Max {
		if err := s.total.Take(s.ctx, buffers.Max); errors.Is(err, buffers.ErrExhausted) {
			return 0, storage.ErrStagedFull
		} else if err != nil {
			return 0, err
		}
		s.taken += buffers.Max
	}
	n, err := s.body.Write(p)
	s.room = s.taken + buffers.Max - s.body.Octets()
	return n, err
}

// discard discards the body, and gives back what it had staged.
func (s *staged) discard() {
	s.body.Discard()
	if s.total != nil { // after the store, whose limit is the same
		s.total.Give(s.taken)
	}
}
