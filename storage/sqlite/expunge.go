package sqlite

import (
	"context"
	"database/sql/driver"

	"mailsrv/quota"
	"mailsrv/storage"
)

// Expunge implements storage.Maildrop.
func (m *maildrop) Expunge(ctx context.Context, entries []storage.Entry) (quota.Usage, error) {
	if len(entries) == 0 {
		return quota.Usage{}, nil
	}
	ranges, err := m.ranges(ctx, entries)
	if err != nil {
		return quota.Usage{}, err
	}
	var removed quota.Usage
	j := &job{frees: true}
	j.apply = func(c *conn) error {
		removed = quota.Usage{}
		for _, r := range ranges {
			u, err := expungeRange(c, m.id, r[0], r[1])
			if err != nil {
				return err
			}
			removed = removed.Add(u)
		}
		_, _, err := c.exec("UPDATE maildrop SET octets = octets - ?2, messages = messages - ?3 WHERE id = ?1",
			m.id, removed.Octets, removed.Messages)
		return err
	}
	if err := m.store.writer.do(ctx, j); err != nil {
		return quota.Usage{}, err
	}
	m.store.writer.tidy()
	return removed, nil
}

// ranges turns messages into runs of sequences that hold nothing else: between
// two neighbours of the snapshot no other message can be. Deleting all that
// was fetched is then one range.
func (m *maildrop) ranges(ctx context.Context, marked []storage.Entry) ([][2]int64, error) {
	all, err := m.Entries(ctx)
	if err != nil {
		return nil, err
	}
	wanted := make(map[int64]bool, len(marked))
	for _, e := range marked {
		wanted[e.Sequence] = true
	}
	var ranges [][2]int64
	adjacent := false
	for _, e := range all {
		switch {
		case !wanted[e.Sequence]:
			adjacent = false
		case adjacent:
			ranges[len(ranges)-1][1] = e.Sequence
		default:
			ranges = append(ranges, [2]int64{e.Sequence, e.Sequence})
			adjacent = true
		}
	}
	return ranges, nil
}

// expungeRange removes the entries of a run of sequences and dooms the bodies
// that nobody else needs. The caller adjusts the counters.
func expungeRange(c *conn, maildrop, from, to int64) (quota.Usage, error) {
	var shared []int64
	row, err := c.first("SELECT count(*), coalesce(sum(octets), 0), coalesce(sum(shared), 0) FROM entry WHERE maildrop = ? AND sequence BETWEEN ? AND ?",
		maildrop, from, to)
	if err != nil {
		return quota.Usage{}, err
	}
	removed := quota.Usage{Messages: row[0].(int64), Octets: row[1].(int64)}
	if row[2].(int64) > 0 {
		err = c.each("SELECT body FROM entry WHERE maildrop = ? AND sequence BETWEEN ? AND ? AND shared = 1",
			func(row []driver.Value) error { shared = append(shared, row[0].(int64)); return nil }, maildrop, from, to)
		if err != nil {
			return quota.Usage{}, err
		}
	}
	for _, id := range shared {
		if err := unshare(c, id); err != nil {
			return quota.Usage{}, err
		}
	}
	if _, _, err := c.exec("INSERT OR IGNORE INTO doomed (body) SELECT body FROM entry WHERE maildrop = ? AND sequence BETWEEN ? AND ? AND shared = 0",
		maildrop, from, to); err != nil {
		return quota.Usage{}, err
	}
	_, _, err = c.exec("DELETE FROM entry WHERE maildrop = ? AND sequence BETWEEN ? AND ?", maildrop, from, to)
	return removed, err
}

// unshare counts one entry less on a shared body, and dooms it with the last.
func unshare(c *conn, id int64) error {
	if _, _, err := c.exec("UPDATE share SET refs = refs - 1 WHERE body = ?", id); err != nil {
		return err
	}
	freed, _, err := c.exec("DELETE FROM share WHERE body = ? AND refs <= 0", id)
	if err != nil || freed == 0 {
		return err
	}
	return doom(c, id)
}

func doom(c *conn, id int64) error {
	_, _, err := c.exec("INSERT OR IGNORE INTO doomed (body) VALUES (?)", id)
	return err
}
