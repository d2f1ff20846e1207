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
	store  *Store
	ctx    context.Context
	buffer []byte
	pieces [][]byte // staged
	staged int64    // octets in pieces
	octets int64
	err    error // of an earlier Write
	done   bool
}

// NewBody implements storage.Deliverer.
func (s *Store) NewBody(ctx context.Context, _ int64) (storage.Body, error) {
	if err := s.before(ctx, Call{Method: "NewBody"}); err != nil {
		return nil, err
	}
	buffer, err := s.buffers.Get(ctx, 0)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bodies++
	return &body{store: s, ctx: ctx, buffer: buffer}, nil
}

// Octets implements storage.Body.
func (b *body) Octets() int64 { return b.octets }

// Write implements storage.Body.
func (b *body) Write(p []byte) (int, error) {
	if b.err == nil {
		b.err = b.store.before(b.ctx, Call{Method: "Write"})
	}
	written := 0
	for len(p) > 0 && b.err == nil {
		if len(b.buffer) == buffers.Max {
			b.err = b.stage()
			continue
		}
		var n int
		b.buffer, n, b.err = b.store.buffers.Fill(b.ctx, b.buffer, p, 0)
		p = p[n:]
		written += n
		b.octets += int64(n)
	}
	return written, b.err
}

// stage keeps the full buffer as the next piece.
func (b *body) stage() error {
	s := b.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.options.MaxStaged > 0 && s.staged+buffers.Max > s.options.MaxStaged {
		return storage.ErrStagedFull
	}
	s.staged += buffers.Max
	b.staged += buffers.Max
	b.pieces = append(b.pieces, bytes.Clone(b.buffer))
	b.buffer = b.buffer[:0]
	return nil
}

// content returns a copy of the body's content, to be kept after Discard.
func (b *body) content(prefix string) *content {
	c := &content{prefix: prefix, pieces: b.pieces[:len(b.pieces):len(b.pieces)]}
	if len(b.buffer) > 0 {
		c.pieces = append(c.pieces, bytes.Clone(b.buffer))
	}
	return c
}

// Discard implements storage.Body.
func (b *body) Discard() {
	if b.done {
		return
	}
	b.done = true
	b.store.buffers.Put(b.buffer)
	b.buffer, b.pieces = nil, nil
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	b.store.staged -= b.staged
	b.store.bodies--
}
