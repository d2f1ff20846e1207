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
// once, where those of their folder stand: each for itself would write a page of
// its own. Those of a folder are settled in their order, so its arrivals are
// always newer than its settled entries.

// Bounds of arrivals. The more wait, the more of them go to one page; whoever lists
// a maildrop or deletes from it looks through those that wait.
const (
	manyArrivals     = 128             // settled at the next rest when more wait; less, every lookEvery
	maxArrivals      = 2048            // settled beside deliveries when more wait
	sliceSettle      = maxArrivals / 4 // in one batch, beside as many as it brings
	maxBatchArrivals = maxArrivals     // that one batch brings, unless one message has more recipients
)

// uidBits are those of an entry's id that hold its uid; the folder's id is above them.
// One integer is a key of half the size of two, and leaves the inner pages of the tree
// an eighth of what they would take with rows in them (ADR 17).
const uidBits = 32

// entryID is the id of a message's entry.
func entryID(folder, uid int64) int64 { return folder<<uidBits | uid }

func uidOf(id int64) int64 { return id & (1<<uidBits - 1) }

// entryColumns are what an arrival and a settled entry have in common.
const entryColumns = "id, octets, body, shared, uidl, own, arrived, flags, modseq"

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

// settleFolder settles the arrivals of one folder.
func settleFolder(c *conn, folder int64) (moved int64, err error) {
	return settleBetween(c, entryID(folder, 0), entryID(folder, int64(storage.MaxUID)))
}

// perText is how many settled entries are read as one text.
const perText = 1000

// eachEntry calls f with the entries of a folder up to a uid, in their order.
// The arrivals are read first: what is settled meanwhile is met twice, not missed.
func eachEntry(c *conn, folder, last int64, f func(storage.Entry)) error {
	to := entryID(folder, last)
	var arrived []storage.Entry
	err := c.each("SELECT id, octets, uidl, arrived, flags, modseq FROM arrival WHERE id BETWEEN ? AND ? ORDER BY number", func(row []driver.Value) error {
		arrived = append(arrived, storage.Entry{
			UID: storage.UID(uidOf(row[0].(int64))), Octets: row[1].(int64), UIDL: row[2].(string),
			Arrived: row[3].(int64), Flags: storage.Flags(row[4].(int64)), ModSeq: storage.ModSeq(row[5].(int64)),
		})
		return nil
	}, entryID(folder, 0), to)
	if err != nil {
		return err
	}
	newest := storage.UID(0)
	for more := true; more; {
		// A row costs the driver more than SQLite: texts of many take half the time. The
		// UIDLs have one of their own, which stays as long as they do.
		row, err := c.first(`SELECT count(*), group_concat(uid || ' ' || octets || ' ' || arrived || ' ' || flags || ' ' || modseq, ' '), group_concat(uidl, ' ')
FROM (SELECT uid, octets, arrived, flags, modseq, uidl FROM entry WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?)`,
			entryID(folder, int64(newest))+1, to, int64(perText))
		if err != nil {
			return err
		}
		entries := row[0].(int64)
		more = entries == perText
		numbers, _ := row[1].(string)
		uidls, _ := row[2].(string)
		for ; numbers != "" && uidls != ""; entries-- {
			var e storage.Entry
			if e, numbers, err = cutNumbers(numbers); err != nil {
				return err
			}
			e.UIDL, uidls, _ = strings.Cut(uidls, " ")
			newest = e.UID
			f(e)
		}
		if entries != 0 || numbers != uidls { // the texts leave out what is NULL
			return errRow
		}
	}
	for _, e := range arrived {
		if e.UID > newest {
			f(e)
		}
	}
	return nil
}

// cutNumbers cuts what an entry has of numbers from a text of many.
func cutNumbers(text string) (e storage.Entry, rest string, err error) {
	var numbers [5]int64
	rest = text
	for i := range numbers {
		var number string
		number, rest, _ = strings.Cut(rest, " ")
		if numbers[i], err = strconv.ParseInt(number, 10, 64); err != nil {
			return e, rest, err
		}
	}
	return storage.Entry{
		UID: storage.UID(numbers[0]), Octets: numbers[1], Arrived: numbers[2],
		Flags: storage.Flags(numbers[3]), ModSeq: storage.ModSeq(numbers[4]),
	}, rest, nil
}
