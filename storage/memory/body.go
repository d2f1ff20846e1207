package memory

import (
	"bytes"
	"context"

	"mailsrv/internal/buffers"
	"mailsrv/storage"
)

// body collects a message in one buffer of the pool. Each time that reaches
// buffers.Max octets, it becomes a piece: what a store on disk would stage.
type body struct {
	buffers.Collector
	store  *Store
	ctx    context.Context
	pieces [][]byte // staged
	staged int64    // octets in pieces
	failed error    // of a Fault, in an earlier Write
	done   bool
}

// NewBody implements storage.Deliverer.
func (s *Store) NewBody(ctx context.Context, _ int64) (storage.Body, error) {
	if err := s.before(ctx, Call{Method: "NewBody"}); err != nil {
		return nil, err
	}
	b := &body{store: s, ctx: ctx}
	var err error
	if b.Collector, err = buffers.NewCollector(ctx, s.buffers, 0, b.stage); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bodies++
	return b, nil
}

// Write implements storage.Body.
func (b *body) Write(p []byte) (int, error) {
	if b.failed == nil {
		b.failed = b.store.before(b.ctx, Call{Method: "Write"})
	}
	if b.failed != nil {
		return 0, b.failed
	}
	return b.Collector.Write(p)
}

// stage keeps a full buffer as the next piece.
func (b *body) stage(full []byte) error {
	s := b.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.options.MaxStaged > 0 && s.staged+buffers.Max > s.options.MaxStaged {
		return storage.ErrStagedFull
	}
	s.staged += buffers.Max
	b.staged += buffers.Max
	b.pieces = append(b.pieces, bytes.Clone(full))
	return nil
}

// content returns a copy of the body's content, to be kept after Discard.
func (b *body) content(prefix string) *content {
	c := &content{prefix: prefix, pieces: b.pieces[:len(b.pieces):len(b.pieces)]}
	if len(b.Rest()) > 0 {
		c.pieces = append(c.pieces, bytes.Clone(b.Rest()))
	}
	return c
}

// Discard implements storage.Body.
func (b *body) Discard() {
	if b.done {
		return
	}
	b.done = true
	b.Free()
	b.pieces = nil
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	b.store.staged -= b.staged
	b.store.bodies--
}
