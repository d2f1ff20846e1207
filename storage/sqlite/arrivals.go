package sqlite

import (
	"context"
	"fmt"

	"github.com/mattn/go-sqlite3"

	"mailsrv/storage"
)

// Entries arrive in the order of their commits, where the next
// one is cheap. Compaction moves many at once to where their folder's entries stand:
// each by itself would write a page of its own. Those of a folder move in their order,
// so its arrivals are always newer than its compacted entries.

// Bounds of arrivals. The more wait, the more of them go to one page; whoever lists
// a maildrop or deletes from it looks through those that wait.
const (
	manyArrivals     = 128             // compacted at the next rest when more wait; less, every lookEvery
	maxArrivals      = 2048            // compacted beside deliveries when more wait
	sliceCompact     = maxArrivals / 4 // in one batch, beside as many as it brings
	maxBatchArrivals = maxArrivals     // that one batch brings, unless one message has more recipients
)

// uidBits are those of an entry's id that hold its uid; the folder's id is above them.
// One integer is a key of half the size of two, and leaves the inner pages of the tree
// an eighth of what they would take with rows in them (ADR 18).
const uidBits = 32

// entryID is the id of a message's entry.
func entryID(folder, uid int64) int64 { return folder<<uidBits | uid }

func uidOf(id int64) int64 { return id & (1<<uidBits - 1) }

// entryColumns are what an arrival and a compacted entry have in common.
const entryColumns = "id, octets, body, shared, uidl, own, arrived, flags, modseq"

// compact moves the first arrivals behind an id, at most the given number, to entry. It
// returns how many it moved, and the id behind which to go on; 0: there were none.
func compact(c *conn, behind, most int64) (moved, last int64, err error) {
	last, err = c.number("SELECT max(id) FROM (SELECT id FROM arrival WHERE id > ? ORDER BY id LIMIT ?)", behind, most)
	if err != nil || last == 0 {
		return 0, 0, err
	}
	moved, err = compactBetween(c, behind+1, last)
	return moved, last, err
}

// compactBetween moves the arrivals whose ids are from first to last, and returns
// how many that were.
func compactBetween(c *conn, first, last int64) (moved int64, err error) {
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

// compactAll moves all arrivals, for a repair, whose remedies know compacted entries.
func (s *Store) compactAll(ctx context.Context) error {
	for behind := int64(0); ; {
		next := int64(0)
		err := s.writer.change(ctx, func(c *conn, _ func(error)) (err error) {
			_, next, err = compact(c, behind, sliceCompact)
			return err
		})
		if err != nil || next == 0 {
			return err
		}
		behind = next
	}
}

// compactFolder moves the arrivals of one folder.
func compactFolder(c *conn, folder int64) (moved int64, err error) {
	return compactBetween(c, entryID(folder, 0), entryID(folder, int64(storage.MaxUID)))
}
