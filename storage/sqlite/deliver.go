package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"mailsrv/quota"
	"mailsrv/storage"
)

// Deliver implements storage.Store.
func (s *Store) Deliver(ctx context.Context, d *storage.Delivery, limit quota.Limit) error {
	b, ok := d.Body.(*body)
	if !ok || b.store != s {
		return errors.New("sqlite: the body is of another store")
	}
	if b.err != nil {
		return b.err
	}
	if err := s.space.take(int64(len(b.buffer))); err != nil {
		return err
	}
	j := &job{octets: int64(len(b.buffer)), narrow: true, arrivals: int64(len(d.To))}
	j.apply = func(c *conn) error {
		counted, misfits, err := takeRoom(c, d, limit)
		if err != nil {
			return err
		}
		j.counted = counted
		if len(misfits) > 0 {
			j.outcome = &storage.MisfitError{Misfits: misfits}
			return nil
		}
		return insertMessage(c, d, b, counted)
	}
	if err := s.writer.do(ctx, j); err != nil {
		return err
	}
	b.delivered()
	return nil
}

// roomQuery counts a message into a maildrop if its mailbox takes mail and has
// room, and yields the counters; otherwise it changes nothing. The limits are read
// here, in the commit, so that one just lowered counts. Subqueries, since a build
// without SQLITE_ENABLE_QPSG compiles a join anew at each bind.
const roomQuery = `
UPDATE maildrop SET octets = octets + ?2, messages = messages + 1, last = last + 1
WHERE id = ?1 AND EXISTS (
    SELECT 1 FROM mailbox m WHERE m.id = ?1 AND m.enabled
    AND maildrop.octets + ?2 <= coalesce(nullif(coalesce(m.limit_octets,
        (SELECT limit_octets FROM domain WHERE id = m.domain), max(?3, 0)), 0), 9223372036854775807)
    AND maildrop.messages < coalesce(nullif(coalesce(m.limit_messages,
        (SELECT limit_messages FROM domain WHERE id = m.domain), max(?4, 0)), 0), 9223372036854775807))
RETURNING ` + counterColumns

// counterColumns are what scanCounters reads.
const counterColumns = "octets, messages, last"

func scanCounters(id int64, row []driver.Value) counters {
	return counters{id: id, usage: quota.Usage{Octets: row[0].(int64), Messages: row[1].(int64)}, last: row[2].(int64)}
}

// countIn counts a message into a maildrop that has room for it, and reports
// whether it has.
func countIn(c *conn, id, octets int64, limit quota.Limit) (counted counters, ok bool, err error) {
	row, err := c.first(roomQuery, id, octets, limit.Octets, limit.Messages)
	if err != nil || row == nil {
		return counters{}, false, err
	}
	return scanCounters(id, row), true, nil
}

// takeRoom counts the message into every maildrop and returns the counters in
// their order, or counts it into none when some cannot take it, which it returns.
// No savepoint: errors that roll back a transaction would not stop at one, and they
// cost more than undoing by hand.
func takeRoom(c *conn, d *storage.Delivery, limit quota.Limit) (counted []counters, misfits []storage.Misfit, err error) {
	counted = make([]counters, 0, len(d.To))
	for _, r := range d.To {
		now, ok, err := countIn(c, int64(r.Mailbox), d.Octets(r), limit)
		if err != nil {
			return nil, nil, err
		}
		if !ok {
			reason, err := whyNot(c, r, d.Octets(r), limit)
			if err != nil {
				return nil, nil, err
			}
			misfits = append(misfits, storage.Misfit{Mailbox: r.Mailbox, Reason: reason})
		}
		counted = append(counted, now)
	}
	if len(misfits) == 0 {
		return counted, nil, nil
	}
	refused := map[int64]bool{}
	for _, m := range misfits {
		refused[int64(m.Mailbox)] = true
	}
	for _, r := range d.To {
		if refused[int64(r.Mailbox)] {
			continue
		}
		_, _, err := c.exec("UPDATE maildrop SET octets = octets - ?2, messages = messages - 1, last = last - 1 WHERE id = ?1",
			int64(r.Mailbox), d.Octets(r))
		if err != nil {
			return nil, nil, err
		}
	}
	return nil, misfits, nil
}

// whyNot names the reason for which roomQuery changed nothing.
func whyNot(c *conn, r storage.Recipient, octets int64, limit quota.Limit) (storage.MisfitReason, error) {
	row, err := c.first(`
SELECT m.enabled, p.octets, p.messages,
       coalesce(m.limit_octets, d.limit_octets, max(?2, 0)), coalesce(m.limit_messages, d.limit_messages, max(?3, 0))
FROM mailbox m JOIN domain d ON d.id = m.domain LEFT JOIN maildrop p ON p.id = m.id WHERE m.id = ?1`,
		int64(r.Mailbox), limit.Octets, limit.Messages)
	switch {
	case err != nil:
		return 0, err
	case row == nil:
		return storage.MisfitGone, nil
	case row[0].(int64) == 0:
		return storage.MisfitDisabled, nil
	case row[1] == nil: // a page of it was lost: that is no reason to send mail back
		return 0, fmt.Errorf("mailbox %d has no maildrop: stop the server and run mailsrv check --repair", r.Mailbox)
	}
	held := quota.Usage{Octets: row[1].(int64), Messages: row[2].(int64)}
	allowed := quota.Limit{Octets: amountOf(row[3]), Messages: amountOf(row[4])}
	if allowed.Judge(held, quota.Usage{Octets: octets, Messages: 1}) == quota.TooLarge {
		return storage.MisfitTooLarge, nil
	}
	return storage.MisfitFull, nil
}

// insertMessage writes the body once and an entry for each recipient, under the
// sequence that was counted for it.
func insertMessage(c *conn, d *storage.Delivery, b *body, counted []counters) error {
	id, err := b.insert(c, d.Prefix)
	if err != nil {
		return err
	}
	shared := int64(0)
	if len(d.To) > 1 {
		shared = 1
		if _, _, err := c.exec("INSERT INTO share (body, refs) VALUES (?, ?)", id, int64(len(d.To))); err != nil {
			return err
		}
	}
	for i, r := range d.To {
		_, _, err := c.exec("INSERT INTO arrival ("+entryColumns+") VALUES (?, ?, ?, ?, ?, ?)",
			entryID(int64(r.Mailbox), counted[i].last), d.Octets(r), id, shared, d.ID, r.Own)
		if err != nil {
			return err
		}
	}
	return nil
}
