package tables

import (
	"fmt"

	"github.com/mattn/go-sqlite3"

	"mailsrv/storage"
	"mailsrv/storage/sqlite/db"
)

// Entries arrive in the order of their commits, where the next
// one is cheap. Compaction moves many at once to where their folder's entries stand:
// each by itself would write a page of its own. Those of a folder move in their order,
// so its arrivals are always newer than its compacted entries.

// UIDBits are those of an entry's id that hold its uid; the folder's id is above them.
// One integer is a key of half the size of two, and leaves the inner pages of the tree
// an eighth of what they would take with rows in them (ADR 18).
const UIDBits = 32

// EntryID is the id of a message's entry.
func EntryID(folder, uid int64) int64 { return folder<<UIDBits | uid }

// UIDOf is the uid in an entry's id.
func UIDOf(id int64) int64 { return id & (1<<UIDBits - 1) }

// EntryColumns are what an arrival and a compacted entry have in common.
const EntryColumns = "id, octets, body, shared, uidl, own, arrived, flags, modseq"

// Compact moves the first arrivals behind an id, at most the given number, to entry. It
// returns how many it moved, and the id behind which to go on; 0: there were none.
func Compact(c *db.Conn, behind, most int64) (moved, last int64, err error) {
	last, err = c.Number("SELECT max(id) FROM (SELECT id FROM arrival WHERE id > ? ORDER BY id LIMIT ?)", behind, most)
	if err != nil || last == 0 {
		return 0, 0, err
	}
	moved, err = compactBetween(c, behind+1, last)
	return moved, last, err
}

// compactBetween moves the arrivals whose ids are from first to last, and returns
// how many that were.
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

// CompactFolder moves the arrivals of one folder.
func CompactFolder(c *db.Conn, folder int64) (moved int64, err error) {
	return compactBetween(c, EntryID(folder, 0), EntryID(folder, int64(storage.MaxUID)))
}
