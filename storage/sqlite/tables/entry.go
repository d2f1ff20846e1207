package tables

import (
	"fmt"

	"github.com/mattn/go-sqlite3"

	"mailsrv/storage"
	"mailsrv/storage/sqlite/db"
)

// New entries are rows of the table arrival, in the order of their commits, where adding
// the next one is cheap. Compaction moves many at once to the table entry, which is sorted
// by folder: there, each by itself would write a page of its own. The arrivals of a folder
// move in their order, so they are always newer than its compacted entries.

// UIDBits is how many low bits of an entry's id hold its uid. The bits above them hold the
// folder's id. One integer is a key of half the size of two, and the inner pages of the
// tree take an eighth of what they would take with rows in them (ADR 18).
const UIDBits = 32

// EntryID returns the id of the entry with this uid in a folder.
func EntryID(folder, uid int64) int64 { return folder<<UIDBits | uid }

// UIDOf returns the uid in an entry's id.
func UIDOf(id int64) int64 { return id & (1<<UIDBits - 1) }

// EntryColumns are the columns that arrival and entry have in common.
const EntryColumns = "id, octets, body, shared, uidl, own, arrived, flags, modseq"

// Compact moves the first arrivals with ids above behind, at most most of them, to entry.
// It returns how many it moved and the highest id of them; 0: there were none.
func Compact(c *db.Conn, behind, most int64) (moved, last int64, err error) {
	last, err = c.Number("SELECT max(id) FROM (SELECT id FROM arrival WHERE id > ? ORDER BY id LIMIT ?)", behind, most)
	if err != nil || last == 0 {
		return 0, 0, err
	}
	moved, err = compactBetween(c, behind+1, last)
	return moved, last, err
}

// compactBetween moves the arrivals with ids from first to last, and returns how many it
// moved. db.ErrTwice if one of the ids is in entry already.
func compactBetween(c *db.Conn, first, last int64) (moved int64, err error) {
	const where = " FROM arrival WHERE id BETWEEN ? AND ?"
	moved, _, err = c.Exec("INSERT INTO entry ("+EntryColumns+") SELECT "+EntryColumns+where+" ORDER BY id", first, last)
	if db.Is(err, sqlite3.ErrConstraint) {
		err = fmt.Errorf("%w: %w", db.ErrTwice, err)
	}
	if err != nil || moved == 0 {
		return 0, err
	}
	_, _, err = c.Exec("DELETE"+where, first, last)
	return moved, err
}

// CompactFolder moves all arrivals of one folder, and returns how many it moved.
func CompactFolder(c *db.Conn, folder int64) (moved int64, err error) {
	return compactBetween(c, EntryID(folder, 0), EntryID(folder, int64(storage.MaxUID)))
}
