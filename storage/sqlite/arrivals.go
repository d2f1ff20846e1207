package sqlite

import (
	"context"
	"database/sql/driver"
	"fmt"
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
// an eighth of what they would take with rows in them (ADR 18).
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
		// A row costs the driver more than SQLite: a text of a thousand values of each
		// column takes half the time. That of the UIDLs stays as long as they do.
		row, err := c.first(`SELECT count(*), group_concat(uid, ' '), group_concat(octets, ' '), group_concat(arrived, ' '),
    group_concat(flags, ' '), group_concat(modseq, ' '), group_concat(uidl, ' ')
FROM (SELECT uid, octets, arrived, flags, modseq, uidl FROM entry WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?)`,
			entryID(folder, int64(newest))+1, to, int64(perText))
		if err != nil {
			return err
		}
		entries := row[0].(int64)
		more = entries == perText
		var texts [6]text
		for i := range texts {
			all, _ := row[i+1].(string)
			texts[i] = text(all)
		}
		for range entries {
			e := storage.Entry{
				UID: storage.UID(texts[0].number()), Octets: texts[1].number(), Arrived: texts[2].number(),
				Flags: storage.Flags(texts[3].number()), ModSeq: storage.ModSeq(texts[4].number()), UIDL: texts[5].word(),
			}
			if e.UID <= newest || e.UIDL == "" {
				return errRow // the texts leave out what is NULL
			}
			newest = e.UID
			f(e)
		}
		if texts != [6]text{} {
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

// text is values with a space between two.
type text string

// word cuts the first value; "": there is none.
func (t *text) word() string {
	word, rest, _ := strings.Cut(string(*t), " ")
	*t = text(rest)
	return word
}

// number cuts the first value, a whole number that is not negative.
func (t *text) number() (n int64) {
	for i := range len(*t) {
		c := (*t)[i]
		if c < '0' || c > '9' {
			*t = (*t)[i+1:]
			return n
		}
		n = n*10 + int64(c-'0')
	}
	*t = ""
	return n
}
