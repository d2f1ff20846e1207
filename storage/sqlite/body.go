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

// body collects the content of a message. As long as the content fits it is in one buffer.
// A longer one is staged in the database before the commit, in chunks of buffers.Max
// octets.
type body struct {
	buffers.Collector
	store  *Store
	ctx    context.Context
	id     int64 // id of the body's row; 0: nothing is staged
	chunks int64 // staged chunks
	done   bool
}

// NewBody implements storage.Deliverer.
func (s *Store) NewBody(ctx context.Context, size int64) (storage.Body, error) {
	b := &body{store: s, ctx: ctx}
	var err error
	if b.Collector, err = buffers.NewCollector(ctx, s.buffers, size, b.stage); err != nil {
		return nil, err
	}
	return b, nil
}

// stage commits the full buffer as the next chunk of an unfinished transfer.
func (b *body) stage(full []byte) error {
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
		return insertChunk(c, id, b.chunks, full)
	}
	if err := s.engine.Do(b.ctx, stage); err != nil {
		s.staging.end(buffers.Max)
		return fmt.Errorf("stage a chunk: %w", err)
	}
	b.id = id
	b.chunks++
	return nil
}

func insertChunk(c *db.Conn, body, number int64, data []byte) error {
	_, _, err := c.Exec("INSERT INTO chunk (id, crc, data) VALUES (?, ?, ?)",
		body<<tables.ChunkShift|number, int64(crc32.Checksum(data, tables.Castagnoli)), data)
	return err
}

// insert writes the body's row, with the content that is not staged, in the transaction of
// its delivery. It returns the row's id.
func (b *body) insert(c *db.Conn, d *storage.Delivery) (int64, error) {
	prefix, trace := d.ReturnPath+d.Trace, int64(len(d.ReturnPath))
	crc := crc32.Update(0, tables.Castagnoli, []byte(prefix))
	if b.id == 0 {
		crc = crc32.Update(crc, tables.Castagnoli, b.Rest())
		_, id, err := c.Exec("INSERT INTO body (octets, chunks, crc, prefix, trace, data) VALUES (?, 0, ?, ?, ?, ?)",
			b.Octets(), int64(crc), prefix, trace, b.Rest())
		return id, err
	}
	chunks := b.chunks
	if len(b.Rest()) > 0 {
		if err := insertChunk(c, b.id, chunks, b.Rest()); err != nil {
			return 0, err
		}
		chunks++
	}
	switch owned, _, err := c.Exec("DELETE FROM transfer WHERE body = ? AND over = 0", b.id); {
	case err != nil:
		return 0, err
	case owned == 0: // its chunks may be freed, and its id may be another's by now
		return 0, errors.New("the transfer was given up")
	}
	_, _, err := c.Exec("UPDATE body SET octets = ?, chunks = ?, crc = ?, prefix = ?, trace = ? WHERE id = ?",
		b.Octets(), chunks, int64(crc), prefix, trace, b.id)
	return b.id, err
}

// delivered subtracts the staged octets, which are mail now, from staging.
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
	b.Free()
	if b.id == 0 {
		return
	}
	b.store.breakOff(b.id, b.chunks*buffers.Max)
	b.id, b.chunks = 0, 0
}

// breakOff notes that a transfer will not be finished. octets is what it has staged.
// The octets count in staging until they are freed. If the process ends before this is
// committed, the next start breaks the transfer off.
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
