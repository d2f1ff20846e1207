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

// copyTable copies the rows that can be read, in the order of their ids, and
// reports whether there may have been others.
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

// tableCopy is one table on its way. A row waits until the next one has a higher
// id: what a flipped bit makes of one id must not cost the rows behind it.
type tableCopy struct {
	*rebuild
	table
	list, insert string
	held         []driver.Value
	highest      int64 // id that was put
	lost         bool
}

// query reads rows of the table with their id first.
func (t *tableCopy) query(where string) string {
	return "SELECT rowid, " + t.list + " FROM " + t.name + " WHERE rowid " + where
}

// take takes the next row.
func (t *tableCopy) take(row []driver.Value) error {
	id, _ := row[0].(int64)
	switch {
	case id <= t.highest || idBound[t.name] > 0 && id >= idBound[t.name]: // it pretends another id
		t.lost = true
		return nil
	case t.held != nil && id <= t.held[0].(int64): // the one before pretended a higher
		t.lost = true
		t.held = nil
	}
	if err := t.put(); err != nil {
		return err
	}
	t.held = slices.Clone(row)
	return t.ctx.Err()
}

// put copies the row that waits.
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

// verify drops the row that waits where no other follows that would tell whether its
// id is right: a wrong one is not found where it should stand.
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

// alone returns the row with an id, nil if it is not there or damaged.
func (t *tableCopy) alone(id int64) (found []driver.Value, damaged bool, err error) {
	damaged, err = t.read(t.query("= ?"), func(row []driver.Value) error {
		found = slices.Clone(row)
		return nil
	}, id)
	return found, damaged, err
}

// skip returns the id from which to go on where the rows from an id on cannot be
// read one after the other.
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
		case damaged: // in a long value, behind the row's own page, which leaves its id
			return id + 1, id < math.MaxInt64, nil
		case row != nil:
			return id + 1, id < math.MaxInt64, t.take(row)
		}
	}
	last := t.leafEnd(from)
	return last + 1, last < math.MaxInt64, nil
}

// Of the inner pages of tables (https://www.sqlite.org/fileformat2.html section 1.6).
const (
	innerTable  = 5 // the first octet
	innerHeader = 12
	maxDepth    = 20 // of SQLite's trees
)

// leafEnd returns the highest id that may stand on the leaf to which an id belongs,
// math.MaxInt64 for the last leaf. The inner pages tell, which part the ids among the
// pages below them. Below a damaged one all is one leaf.
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

// varint reads an integer as SQLite writes it.
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
