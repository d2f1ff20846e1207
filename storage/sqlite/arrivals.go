package sqlite

import (
	"context"
	"database/sql/driver"
	"fmt"
	"strconv"
	"strings"

	"github.com/mattn/go-sqlite3"

	"mailsrv/storage"
)

// Entries arrive in the order of their commits, and are settled later, many at
// once, where those of their maildrop stand: each for itself would write a page of
// its own. Those of a maildrop are settled in their order, so its arrivals are
// always newer than its settled entries.

// Bounds of arrivals. The more wait, the more of them go to one page; whoever lists
// a maildrop or deletes from it looks through those that wait.
const (
	manyArrivals     = 128             // settled at the next rest when more wait; less, every lookEvery
	maxArrivals      = 2048            // settled beside deliveries when more wait
	sliceSettle      = maxArrivals / 4 // in one batch, beside as many as it brings
	maxBatchArrivals = maxArrivals     // that one batch brings, unless one message has more recipients
)

// sequenceBits are those of an entry's id that hold its sequence; the maildrop's
// id is above them.
const sequenceBits = 40

// entryID is the id of a message's entry.
func entryID(maildrop, sequence int64) int64 { return maildrop<<sequenceBits | sequence }

func sequenceOf(id int64) int64 { return id & (1<<sequenceBits - 1) }

// entryColumns are what an arrival and a settled entry have in common.
const entryColumns = "id, octets, body, shared, uidl, own"

// settle settles the first so many arrivals behind an id. It returns how many that
// were and the id behind which to go on; 0: there were none.
func settle(c *conn, behind, most int64) (moved, last int64, err error) {
	last, err = c.number("SELECT max(id) FROM (SELECT id FROM arrival WHERE id > ? ORDER BY id LIMIT ?)", behind, most)
	if err != nil || last == 0 {
		return 0, 0, err
	}
	moved, err = settleBetween(c, behind+1, last)
	return moved, last, err
}

// settleBetween settles the arrivals whose ids are from first to last, and returns
// how many that were.
func settleBetween(c *conn, first, last int64) (moved int64, err error) {
	const where = " FROM arrival WHERE id BETWEEN ? AND ?"
	moved, _, err = c.exec("INSERT INTO entry ("+entryColumns+") SELECT "+entryColumns+where+" ORDER BY id", first, last)
	if is(err, sqlite3.ErrConstraint) {
		err = fmt.Errorf("%w: %w", errTwice, err)
	}
	if err != nil || moved == 0 {
		return 0, err
	}
	_, _, err = c.exec("DELETE"+where, first, last)
	return moved, err
}

// settleAll settles what waits, for a repair, whose remedies know settled entries.
func (s *Store) settleAll(ctx context.Context) error {
	for behind := int64(0); ; {
		next := int64(0)
		err := s.writer.change(ctx, func(c *conn, _ func(error)) (err error) {
			_, next, err = settle(c, behind, sliceSettle)
			return err
		})
		if err != nil || next == 0 {
			return err
		}
		behind = next
	}
}

// settleMaildrop settles the arrivals of one maildrop.
func settleMaildrop(c *conn, maildrop int64) (moved int64, err error) {
	return settleBetween(c, entryID(maildrop, 0), entryID(maildrop+1, 0)-1)
}

// perText is how many settled entries are read as one text.
const perText = 1000

// eachEntry calls f with the entries of a maildrop up to a sequence, in their order.
// The arrivals are read first: what is settled meanwhile is met twice, not missed.
func eachEntry(c *conn, maildrop, last int64, f func(storage.Entry)) error {
	to := entryID(maildrop, last)
	var arrived []storage.Entry
	err := c.each("SELECT id, octets, uidl FROM arrival WHERE id BETWEEN ? AND ? ORDER BY number", func(row []driver.Value) error {
		arrived = append(arrived, storage.Entry{Sequence: sequenceOf(row[0].(int64)), Octets: row[1].(int64), UIDL: row[2].(string)})
		return nil
	}, entryID(maildrop, 0), to)
	if err != nil {
		return err
	}
	newest := int64(0)
	for more := true; more; {
		// A row costs the driver more than SQLite: a text of many takes half the time.
		row, err := c.first(`SELECT count(*), group_concat(sequence || ' ' || octets || ' ' || uidl, ' ')
FROM (SELECT sequence, octets, uidl FROM entry WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?)`, entryID(maildrop, newest+1), to, int64(perText))
		if err != nil {
			return err
		}
		entries := row[0].(int64)
		more = entries == perText
		text, _ := row[1].(string)
		for ; text != ""; entries-- {
			var e storage.Entry
			if e, text, err = cutEntry(text); err != nil {
				return err
			}
			newest = e.Sequence
			f(e)
		}
		if entries != 0 { // the text leaves out those of NULLs
			return errRow
		}
	}
	for _, e := range arrived {
		if e.Sequence > newest {
			f(e)
		}
	}
	return nil
}

// cutEntry cuts the first of the entries in a text, each sequence, octets and UIDL.
func cutEntry(text string) (e storage.Entry, rest string, err error) {
	sequence, rest, _ := strings.Cut(text, " ")
	octets, rest, _ := strings.Cut(rest, " ")
	e.UIDL, rest, _ = strings.Cut(rest, " ")
	if e.Sequence, err = strconv.ParseInt(sequence, 10, 64); err == nil {
		e.Octets, err = strconv.ParseInt(octets, 10, 64)
	}
	return e, rest, err
}
