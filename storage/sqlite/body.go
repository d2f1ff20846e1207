package sqlite

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"

	"mailsrv/internal/buffers"
	"mailsrv/storage"
	"mailsrv/storage/sqlite/commit"
	"mailsrv/storage/sqlite/db"
	"mailsrv/storage/sqlite/tables"
)

// body collects a message: in one buffer as long as it fits, else in chunks of
// buffers.Max that are staged in the database ahead of the commit.
//
// The buffer begins as the smallest, since a promise costs its sender nothing. What
// does not fit any more takes the size that was promised at once: who waits for
// memory then holds little, and all who wait get it in turn.
type body struct {
	store    *Store
	ctx      context.Context
	promised int // octets, at most buffers.Max
	buffer   []byte
	octets   int64
	id       int64 // of the body row; 0: nothing staged
	chunks   int64 // staged
	err      error // of an earlier Write
	done     bool
}

// NewBody implements storage.Deliverer.
func (s *Store) NewBody(ctx context.Context, size int64) (storage.Body, error) {
	buffer, err := s.buffers.Get(ctx, 0)
	if err != nil {
		return nil, err
	}
	return &body{store: s, ctx: ctx, promised: int(min(size, buffers.Max)), buffer: buffer}, nil
}

// Octets implements storage.Body.
func (b *body) Octets() int64 { return b.octets }

// Write implements storage.Body.
func (b *body) Write(p []byte) (int, error) {
	if b.err == nil && len(b.buffer)+len(p) <= cap(b.buffer) { // as a line does, nearly always
		b.buffer = append(b.buffer, p...)
		b.octets += int64(len(p))
		return len(p), nil
	}
	written := 0
	for len(p) > 0 && b.err == nil {
		if len(b.buffer) == buffers.Max {
			b.err = b.stage()
			continue
		}
		var n int
		b.buffer, n, b.err = b.store.buffers.Fill(b.ctx, b.buffer, p, b.promised)
		p = p[n:]
		written += n
		b.octets += int64(n)
	}
	return written, b.err
}

// stage commits the full buffer as the next chunk of an unfinished transfer.
func (b *body) stage() error {
	s := b.store
	if err := s.space.Take(buffers.Max); err != nil {
		return err
	}
	if err := s.staging.take(b.ctx, buffers.Max); err != nil {
		return err
	}
	id := b.id
	stage := &commit.Change{Effect: commit.Effect{Kind: commit.Stage, Octets: buffers.Max}}
	stage.Apply = func(c *db.Conn) (err error) {
		id = b.id
		if id == 0 {
			if _, id, err = c.Exec("INSERT INTO body (octets, chunks, crc, prefix, trace) VALUES (0, 0, 0, '', 0)"); err != nil {
				return err
			}
			if _, _, err = c.Exec("INSERT INTO transfer (body, over) VALUES (?, 0)", id); err != nil {
				return err
			}
		}
		return insertChunk(c, id, b.chunks, b.buffer)
	}
	if err := s.engine.Do(b.ctx, stage); err != nil {
		s.staging.end(buffers.Max)
		return fmt.Errorf("stage a chunk: %w", err)
	}
	b.id = id
	b.chunks++
	b.buffer = b.buffer[:0]
	return nil
}

func insertChunk(c *db.Conn, body, number int64, data []byte) error {
	_, _, err := c.Exec("INSERT INTO chunk (id, crc, data) VALUES (?, ?, ?)",
		body<<tables.ChunkShift|number, int64(crc32.Checksum(data, tables.Castagnoli)), data)
	return err
}

// insert writes the body row with what is not staged yet, inside the commit of
// its delivery, and returns its id.
func (b *body) insert(c *db.Conn, d *storage.Delivery) (int64, error) {
	prefix, trace := d.ReturnPath+d.Trace, int64(len(d.ReturnPath))
	crc := crc32.Update(0, tables.Castagnoli, []byte(prefix))
	if b.id == 0 {
		crc = crc32.Update(crc, tables.Castagnoli, b.buffer)
		_, id, err := c.Exec("INSERT INTO body (octets, chunks, crc, prefix, trace, data) VALUES (?, 0, ?, ?, ?, ?)",
			b.octets, int64(crc), prefix, trace, b.buffer)
		return id, err
	}
	chunks := b.chunks
	if len(b.buffer) > 0 {
		if err := insertChunk(c, b.id, chunks, b.buffer); err != nil {
			return 0, err
		}
		chunks++
	}
	switch owned, _, err := c.Exec("DELETE FROM transfer WHERE body = ? AND over = 0", b.id); {
	case err != nil:
		return 0, err
	case owned == 0: // never deliver what may be freed, or another's by now
		return 0, errors.New("the transfer was given up")
	}
	_, _, err := c.Exec("UPDATE body SET octets = ?, chunks = ?, crc = ?, prefix = ?, trace = ? WHERE id = ?",
		b.octets, chunks, int64(crc), prefix, trace, b.id)
	return b.id, err
}

// delivered gives the transfer's place free: what was staged is now mail.
func (b *body) delivered() {
	b.store.staging.end(b.chunks * buffers.Max)
	b.id, b.chunks = 0, 0
}

// Discard implements storage.Body.
func (b *body) Discard() {
	if b.done {
		return
	}
	b.done = true
	b.store.buffers.Put(b.buffer)
	b.buffer = nil
	if b.id == 0 {
		return
	}
	b.store.breakOff(b.id, b.chunks*buffers.Max)
	b.id, b.chunks = 0, 0
}

// breakOff says that a transfer, which has staged so many octets, will not be finished.
// Its octets count until they are free. Should the process end before it is noted, the
// next start does it.
func (s *Store) breakOff(id, octets int64) {
	s.staging.breakOff(octets)
	over := &commit.Change{Effect: commit.Effect{Kind: commit.Abandon}}
	over.Apply = func(c *db.Conn) error {
		_, _, err := c.Exec("UPDATE transfer SET over = 1 WHERE body = ?", id)
		return err
	}
	over.Committed = func() {
		if s.options.Server {
			s.upkeep.addBroken(octets)
		} else {
			s.staging.free(octets) // a server frees them
		}
	}
	s.engine.Submit(over)
}
