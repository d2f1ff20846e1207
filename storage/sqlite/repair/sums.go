package repair

import (
	"context"
	"database/sql/driver"
	"fmt"
	"hash/crc32"

	"mailsrv/storage"
	"mailsrv/storage/sqlite/db"
	"mailsrv/storage/sqlite/tables"

	"github.com/mattn/go-sqlite3"
)

// sums checks all content against its checksums. If a damaged page prevents reading a table
// from end to end, each row that a message needs is read by itself, so that the report can
// name what is lost.
type sums struct {
	c     *db.Conn
	ctx   context.Context
	count func(storage.Finding)
}

func (s *sums) check() error {
	const columns = "SELECT id, prefix, data, crc, octets, chunks FROM body WHERE "
	err := s.c.Each(columns+"id NOT IN (SELECT body FROM transfer)", s.body)
	if db.Is(err, sqlite3.ErrCorrupt) {
		err = s.each("body", "SELECT body FROM "+needed, columns+"id = ?", s.body, func(id int64) int64 { return id })
	}
	if err != nil {
		return err
	}
	err = s.c.Each("SELECT id, crc, data FROM chunk", s.chunk)
	if db.Is(err, sqlite3.ErrCorrupt) {
		err = s.each("chunk", `WITH RECURSIVE number(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n < 65535)
SELECT id << 16 | n FROM (SELECT id, chunks FROM body WHERE chunks > 0), number WHERE n < chunks`,
			"SELECT id, crc, data FROM chunk WHERE id = ?", s.chunk, func(id int64) int64 { return id >> tables.ChunkShift })
	}
	if err != nil {
		return err
	}
	return s.lengths()
}

func (s *sums) body(row []driver.Value) error {
	// A page that was overwritten with zeros has rows of NULLs.
	prefix, _ := row[1].(string)
	data, _ := row[2].([]byte)
	sum := int64(crc32.Update(crc32.Checksum([]byte(prefix), tables.Castagnoli), tables.Castagnoli, data))
	if row[3] != sum || row[5] == nil || row[5] == int64(0) && row[4] != int64(len(data)) {
		return s.damaged("body", row[0].(int64), row[0].(int64))
	}
	return s.ctx.Err()
}

func (s *sums) chunk(row []driver.Value) error {
	data, _ := row[2].([]byte)
	if row[1] != int64(crc32.Checksum(data, tables.Castagnoli)) {
		return s.damaged("chunk", row[0].(int64), row[0].(int64)>>tables.ChunkShift)
	}
	return s.ctx.Err()
}

// each reads the rows with the ids that the query ids yields, one by one, and calls look
// with each. bodyOf returns the id of the body that a row belongs to.
func (s *sums) each(what, ids, query string, look func([]driver.Value) error, bodyOf func(int64) int64) error {
	var all []int64
	err := s.c.Each(ids, func(row []driver.Value) error {
		if id, ok := row[0].(int64); ok { // a row of NULLs has no id
			all = append(all, id)
		}
		return s.ctx.Err()
	})
	if err != nil && !db.Is(err, sqlite3.ErrCorrupt) {
		return err
	}
	for _, id := range all {
		err := s.c.Each(query, look, id)
		if db.Is(err, sqlite3.ErrCorrupt) {
			err = s.damaged(what, id, bodyOf(id))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// lengths compares the number and the octets of a long body's chunks with those in its row.
func (s *sums) lengths() error {
	err := s.c.Each(`SELECT b.id, b.octets, count(c.id), coalesce(sum(length(c.data)), 0), b.chunks FROM body b
LEFT JOIN chunk c ON c.id BETWEEN b.id << 16 AND (b.id << 16 | 65535)
WHERE b.chunks > 0 AND b.id NOT IN (SELECT body FROM garbage) GROUP BY b.id
HAVING count(c.id) <> b.chunks OR coalesce(sum(length(c.data)), 0) <> b.octets`, func(row []driver.Value) error {
		return s.damaged("body", row[0].(int64), row[0].(int64))
	})
	if db.Is(err, sqlite3.ErrCorrupt) {
		return nil // each has reported them
	}
	return err
}

// damaged reports the messages of a damaged body.
func (s *sums) damaged(what string, id, body int64) error {
	return s.c.Each(`SELECT group_concat(m.local || '@' || d.name || ' ' || e.uidl, ', ')
FROM message e JOIN folder f ON f.id = e.folder JOIN mailbox m ON m.id = f.mailbox JOIN domain d ON d.id = m.domain WHERE e.body = ?`, func(row []driver.Value) error {
		if text, ok := row[0].(string); ok {
			s.count(storage.Finding{Text: fmt.Sprintf("%s %d is damaged (%s)", what, id, text), Remedy: storage.RemoveMessage})
		}
		return nil
	}, body)
}
