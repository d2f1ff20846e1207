package sqlite

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"mailsrv/internal/buffers"
	"mailsrv/internal/mail"
	"mailsrv/quota"
	"mailsrv/storage"
	"mailsrv/storage/sqlite/db"
	"mailsrv/storage/sqlite/tables"
)

// maildrop is one session's snapshot of an INBOX.
type maildrop struct {
	store *Store
	tables.Place
	last  int64 // highest uid of the snapshot
	usage quota.Usage
}

// OpenMaildrop implements storage.Maildrops.
func (s *Store) OpenMaildrop(ctx context.Context, id mail.MailboxID) (storage.Maildrop, error) {
	now, ok := s.cache.maildrop(int64(id))
	if !ok {
		err := s.readers.Use(ctx, func(c *db.Conn) error {
			row, err := c.First("SELECT "+tables.CounterColumns+" FROM tally WHERE folder = (SELECT inbox FROM mailbox WHERE id = ?)", int64(id))
			if err != nil {
				return err
			}
			if row == nil {
				return storage.ErrNoMaildrop
			}
			now = tables.ScanCounters(int64(id), row)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return &maildrop{store: s, Place: now.Place, usage: now.Held, last: now.Last}, nil
}

// Usage implements storage.Maildrop.
func (m *maildrop) Usage() quota.Usage { return m.usage }

// Message implements storage.Maildrop.
func (m *maildrop) Message(ctx context.Context, e storage.Entry, from int64) (storage.Message, error) {
	msg := &message{store: m.store, entry: tables.EntryID(m.Folder, int64(e.UID))}
	// The driver copies a row's content out of SQLite's memory. The reservation is for that
	// copy.
	msg.reserved = min(e.Octets, buffers.Max)
	if err := m.store.buffers.Reserve(ctx, msg.reserved); err != nil {
		return nil, err
	}
	if err := msg.open(ctx, from); err != nil {
		msg.Close()
		return nil, err
	}
	return msg, nil
}

// message reads one message, the content of one row at a time. Each read looks for the entry
// again: if that is gone, its body may be gone or another's. It uses subqueries instead of
// joins; see roomFor.
type message struct {
	store    *Store
	entry    int64
	reserved int64
	head     []byte // rest of prefix and own; nil: nothing is left
	data     []byte // the piece behind the head
	number   int64  // number of the next chunk
	chunks   int64
}

func (m *message) open(ctx context.Context, from int64) error {
	err := m.store.readers.Use(ctx, func(c *db.Conn) error {
		row, err := c.First(`
SELECT e.own, (SELECT prefix FROM body WHERE id = e.body), (SELECT crc FROM body WHERE id = e.body),
    (SELECT chunks FROM body WHERE id = e.body), (SELECT data FROM body WHERE id = e.body)
FROM message e WHERE e.id = ?`, m.entry)
		switch {
		case err != nil:
			return err
		case row == nil:
			return storage.ErrGone
		case row[1] == nil:
			return fmt.Errorf("%w: it has no body", storage.ErrDamaged)
		}
		own, prefix := row[0].(string), row[1].(string)
		m.data, _ = row[4].([]byte)
		m.chunks = row[3].(int64)
		crc := crc32.Update(0, tables.Castagnoli, []byte(prefix))
		if int64(crc32.Update(crc, tables.Castagnoli, m.data)) != row[2].(int64) {
			return fmt.Errorf("%w: checksum of its body", storage.ErrDamaged)
		}
		m.head = append(append(make([]byte, 0, len(prefix)+len(own)), prefix...), own...)
		return nil
	})
	if err != nil {
		return damaged(err)
	}
	return m.skip(ctx, from)
}

// skip skips the first from octets of a message whose row has been read, and reads the chunk
// in which the next octet is.
func (m *message) skip(ctx context.Context, from int64) (err error) {
	if within := min(from, int64(len(m.head))); within > 0 {
		m.head = m.head[within:]
		from -= within
	}
	if m.chunks > 0 {
		if m.number = from / buffers.Max; m.number >= m.chunks {
			m.number = m.chunks
			return nil
		}
		from -= m.number * buffers.Max
		if m.data, err = m.chunk(ctx); err != nil {
			return err
		}
	}
	m.data = m.data[min(from, int64(len(m.data))):]
	return nil
}

// chunk reads and verifies the next chunk.
func (m *message) chunk(ctx context.Context) (data []byte, err error) {
	err = m.store.readers.Use(ctx, func(c *db.Conn) error {
		row, err := c.First(`
SELECT (SELECT data FROM chunk WHERE id = (e.body << 16 | ?2)), (SELECT crc FROM chunk WHERE id = (e.body << 16 | ?2))
FROM message e WHERE e.id = ?1`, m.entry, m.number)
		switch {
		case err != nil:
			return err
		case row == nil:
			return storage.ErrGone
		case row[0] == nil:
			return fmt.Errorf("%w: chunk %d is missing", storage.ErrDamaged, m.number)
		}
		data = row[0].([]byte)
		if int64(crc32.Checksum(data, tables.Castagnoli)) != row[1].(int64) {
			return fmt.Errorf("%w: checksum of chunk %d", storage.ErrDamaged, m.number)
		}
		return nil
	})
	m.number++
	return data, damaged(err)
}

// damaged adds storage.ErrDamaged to an error that says that the database is damaged.
func damaged(err error) error {
	if db.IsDamage(err) && !errors.Is(err, storage.ErrDamaged) {
		return errors.Join(storage.ErrDamaged, err)
	}
	return err
}

// Next implements storage.Message.
func (m *message) Next(ctx context.Context) ([]byte, error) {
	if piece := m.head; len(piece) > 0 {
		m.head = nil
		return piece, nil
	}
	if len(m.data) == 0 && m.number < m.chunks {
		var err error
		if m.data, err = m.chunk(ctx); err != nil {
			return nil, err
		}
	}
	piece := m.data
	m.data = nil
	if len(piece) == 0 {
		return nil, io.EOF
	}
	return piece, nil
}

// Close implements storage.Message.
func (m *message) Close() {
	m.store.buffers.Release(m.reserved)
	m.reserved = 0
}
