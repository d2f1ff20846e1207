package repair

import (
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"

	"mailsrv/storage/sqlite/db"

	"github.com/mattn/go-sqlite3"
)

// copyTable copies the rows of a table that can be read, in the order of their ids. lost
// reports that there may have been others.
func (r *rebuild) copyTable(of table) (lost bool, err error) {
	var columns []string
	err = r.to.Each("SELECT name FROM pragma_table_info(?)", func(row []driver.Value) error { // not the generated ones
		columns = append(columns, row[0].(string))
		return nil
	}, of.name)
	if err != nil {
		return false, err
	}
	t := tableCopy{rebuild: r, table: of, list: strings.Join(columns, ", "), highest: -1}
	t.insert = "INSERT INTO " + t.name + " (" + t.list + ") VALUES (?" + strings.Repeat(", ?", len(columns)-1) + ")"
	for next, more := int64(0), true; more; {
		damaged, err := r.read(t.query(">= ? ORDER BY rowid"), t.take, next)
		if err == nil && damaged {
			t.lost = true
			err = t.verify()
		}
		if err == nil {
			err = errors.Join(t.put(), r.ctx.Err())
		}
		if err != nil || !damaged {
			return t.lost, err
		}
		if next, more, err = t.skip(max(next, t.highest+1)); err != nil {
			return true, err
		}
	}
	return true, t.put()
}

// tableCopy is the copy of one table. It holds each row back until the next one has a
// higher id: if a flipped bit has made one id too high, the rows behind it must not be
// dropped for that.
type tableCopy struct {
	*rebuild
	table
	list, insert string
	held         []driver.Value
	highest      int64 // the highest id that was copied
	lost         bool
}

// query returns a query of rows of the table, with the id as the first column.
func (t *tableCopy) query(where string) string {
	return "SELECT rowid, " + t.list + " FROM " + t.name + " WHERE rowid " + where
}

// take takes the next row, which it holds back, and copies the one before.
func (t *tableCopy) take(row []driver.Value) error {
	id, _ := row[0].(int64)
	switch {
	case id <= t.highest || idBound[t.name] > 0 && id >= idBound[t.name]: // its id is damaged
		t.lost = true
		return nil
	case t.held != nil && id <= t.held[0].(int64): // the id of the row before was too high
		t.lost = true
		t.held = nil
	}
	if err := t.put(); err != nil {
		return err
	}
	t.held = slices.Clone(row)
	return t.ctx.Err()
}

// put copies the row that is held back.
func (t *tableCopy) put() error {
	if t.held == nil {
		return nil
	}
	row := t.held
	t.held = nil
	t.highest = row[0].(int64)
	_, _, err := t.to.Exec(t.insert, row[1:]...)
	if db.Is(err, sqlite3.ErrConstraint) {
		t.lost = true
		return nil
	}
	return err
}

// verify drops the row that is held back if its id is wrong. It is called when no other row
// follows that would show that. SQLite does not find a row by its wrong id.
func (t *tableCopy) verify() error {
	if t.held == nil {
		return nil
	}
	found, _, err := t.alone(t.held[0].(int64))
	if found == nil {
		t.held = nil
	}
	return err
}

// alone returns the row with an id, or nil if it does not exist or is damaged.
func (t *tableCopy) alone(id int64) (found []driver.Value, damaged bool, err error) {
	damaged, err = t.read(t.query("= ?"), func(row []driver.Value) error {
		found = slices.Clone(row)
		return nil
	}, id)
	return found, damaged, err
}

// skip is called if the rows cannot be read one after the other from the id from. It
// returns the id from which to go on.
func (t *tableCopy) skip(from int64) (next int64, more bool, err error) {
	id := int64(-1)
	damaged, err := t.read("SELECT rowid FROM "+t.name+" WHERE rowid >= ? ORDER BY rowid LIMIT 1", func(row []driver.Value) error {
		id = row[0].(int64)
		return nil
	}, from)
	if err != nil || !damaged && id < 0 {
		return 0, false, err
	}
	if !damaged && id >= from {
		row, damaged, err := t.alone(id)
		switch {
		case err != nil:
			return 0, false, err
		case damaged: // an overflow page of the row is damaged, but its id could be read
			return id + 1, id < math.MaxInt64, nil
		case row != nil:
			return id + 1, id < math.MaxInt64, t.take(row)
		}
	}
	last := t.leafEnd(from)
	return last + 1, last < math.MaxInt64, nil
}

// Values of the inner pages of tables (https://www.sqlite.org/fileformat2.html section 1.6).
const (
	innerTable  = 5  // the first octet
	innerHeader = 12 // octets
	maxDepth    = 20 // levels of SQLite's trees
)

// leafEnd returns the highest id that can be on the same leaf page as id, or math.MaxInt64
// for the last leaf. The inner pages say so, since they divide the ids among the pages below
// them. All pages below a damaged inner page count as one leaf.
func (t *tableCopy) leafEnd(id int64) (last int64) {
	page := make([]byte, t.pageSize)
	last = math.MaxInt64
	next := t.root
	for range maxDepth {
		if _, err := t.pages.ReadAt(page, (next-1)*t.pageSize); err != nil || page[0] != innerTable {
			break
		}
		next = int64(binary.BigEndian.Uint32(page[8:]))
		cells := page[innerHeader:]
		cells = cells[:min(len(cells), 2*int(binary.BigEndian.Uint16(page[3:])))]
		for least := int64(math.MaxInt64); len(cells) > 1; cells = cells[2:] {
			at := int(binary.BigEndian.Uint16(cells))
			if at+4 > len(page) {
				continue
			}
			if key := varint(page[at+4:]); id <= key && key < least {
				least = key
				next = int64(binary.BigEndian.Uint32(page[at:]))
				last = min(last, key)
			}
		}
	}
	return last
}

// varint decodes one of SQLite's integers of variable length.
func varint(octets []byte) (x int64) {
	for i, octet := range octets {
		if i == 8 {
			return x<<8 | int64(octet)
		}
		x = x<<7 | int64(octet&0x7f)
		if octet < 0x80 {
			break
		}
	}
	return x
}
