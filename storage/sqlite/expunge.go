package sqlite

import (
	"context"
	"database/sql/driver"
	"time"

	"mailsrv/quota"
	"mailsrv/storage"
)

// Update implements storage.Maildrop.
func (m *maildrop) Update(ctx context.Context, expunged, retrieved []storage.Entry) (quota.Usage, error) {
	if len(expunged)+len(retrieved) == 0 {
		return quota.Usage{}, nil
	}
	gone, err := m.ranges(ctx, expunged)
	if err != nil {
		return quota.Usage{}, err
	}
	seen, err := m.ranges(ctx, retrieved)
	if err != nil {
		return quota.Usage{}, err
	}
	var removed quota.Usage
	doomed := int64(0)
	j := &job{frees: true, narrow: true}
	j.apply = func(c *conn) error {
		now := time.Now()
		removed, doomed, j.counted = quota.Usage{}, 0, nil
		settled, err := settleMaildrop(c, m.id)
		if err != nil {
			return err
		}
		j.arrivals = -settled
		for _, r := range seen {
			_, _, err := c.exec("UPDATE entry SET retrieved = ?3 WHERE id BETWEEN ?1 AND ?2 AND retrieved IS NULL",
				entryID(m.id, r[0]), entryID(m.id, r[1]), now.Unix())
			if err != nil {
				return err
			}
		}
		if len(gone) == 0 {
			return nil
		}
		keep, err := keepDeleted(c, m.id)
		if err != nil {
			return err
		}
		for _, r := range gone {
			if keep > 0 {
				if err := putAside(c, m.id, r, now, keep); err != nil {
					return err
				}
			}
			u, err := expungeRange(c, m.id, r[0], r[1], keep > 0)
			if err != nil {
				return err
			}
			removed = removed.Add(u)
		}
		if keep == 0 {
			doomed = removed.Messages
		}
		j.counted, err = uncount(c, m.id, removed)
		return err
	}
	if err := m.store.writer.do(ctx, j); err != nil {
		return quota.Usage{}, err
	}
	m.store.writer.tidy(doomed)
	return removed, nil
}

// keepDeleted is how long what is deleted from a maildrop is kept aside.
func keepDeleted(c *conn, maildrop int64) (time.Duration, error) {
	seconds, err := c.number(`SELECT coalesce(keep_deleted, (SELECT keep_deleted FROM domain WHERE id = m.domain), 0)
FROM mailbox m WHERE id = ?`, maildrop)
	return time.Duration(seconds) * time.Second, err
}

// putAside copies the entries of a run of sequences to where Undelete finds
// them; they take their bodies along.
func putAside(c *conn, maildrop int64, r [2]int64, now time.Time, keep time.Duration) error {
	_, _, err := c.exec(`INSERT INTO removed (maildrop, octets, body, shared, own, at, until)
SELECT maildrop, octets, body, shared, own, ?3, ?4 FROM entry WHERE id BETWEEN ?1 AND ?2 ORDER BY id`,
		entryID(maildrop, r[0]), entryID(maildrop, r[1]), now.Unix(), now.Add(keep).Unix())
	return err
}

// uncount takes what was removed out of a maildrop's counters, and returns them
// unless the maildrop is gone.
func uncount(c *conn, maildrop int64, removed quota.Usage) ([]counters, error) {
	row, err := c.first("UPDATE maildrop SET octets = octets - ?2, messages = messages - ?3 WHERE id = ?1 RETURNING "+counterColumns,
		maildrop, removed.Octets, removed.Messages)
	if err != nil || row == nil {
		return nil, err
	}
	return []counters{scanCounters(maildrop, row)}, nil
}

// ranges turns messages into runs of sequences that hold nothing else: between
// two neighbours of the snapshot no other message can be. Deleting all that
// was fetched is then one range.
func (m *maildrop) ranges(ctx context.Context, marked []storage.Entry) ([][2]int64, error) {
	if len(marked) == 0 {
		return nil, nil
	}
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

// expungeRange removes the settled entries of a run of sequences and dooms the bodies
// that nobody else needs, unless they are kept. The caller adjusts the counters.
func expungeRange(c *conn, maildrop, from, to int64, keepBodies bool) (quota.Usage, error) {
	const where = " FROM entry WHERE id BETWEEN ? AND ?"
	first, last := entryID(maildrop, from), entryID(maildrop, to)
	row, err := c.first("SELECT count(*), coalesce(sum(octets), 0), coalesce(sum(shared), 0)"+where, first, last)
	if err != nil {
		return quota.Usage{}, err
	}
	removed := quota.Usage{Messages: row[0].(int64), Octets: row[1].(int64)}
	if !keepBodies {
		if err := doomBodies(c, row[2].(int64) > 0, where, first, last); err != nil {
			return quota.Usage{}, err
		}
	}
	_, _, err = c.exec("DELETE"+where, first, last)
	return removed, err
}

// doomBodies dooms the bodies of rows that are about to go, as far as nobody
// else needs them.
func doomBodies(c *conn, someShared bool, where string, args ...driver.Value) error {
	if someShared {
		var shared []int64
		err := c.each("SELECT body"+where+" AND shared = 1", func(row []driver.Value) error {
			shared = append(shared, row[0].(int64))
			return nil
		}, args...)
		if err != nil {
			return err
		}
		for _, id := range shared {
			if err := unshare(c, id); err != nil {
				return err
			}
		}
	}
	_, _, err := c.exec("INSERT OR IGNORE INTO doomed (body) SELECT body"+where+" AND shared = 0", args...)
	return err
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
