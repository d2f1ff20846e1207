package sqlite

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/mattn/go-sqlite3"
)

// copyTable copies the rows that can be read, in the order of their ids, and
// reports whether there may have been others.
func (r *rebuild) copyTable(table string) (lost bool, err error) {
	var columns []string
	err = r.to.each("SELECT name FROM pragma_table_info(?)", func(row []driver.Value) error { // not the generated ones
		columns = append(columns, row[0].(string))
		return nil
	}, table)
	if err != nil {
		return false, err
	}
	t := tableCopy{rebuild: r, list: strings.Join(columns, ", "), table: table, highest: -1}
	t.insert = "INSERT INTO " + table + " (" + t.list + ") VALUES (?" + strings.Repeat(", ?", len(columns)-1) + ")"
	for next, more := int64(0), true; more; {
		err := r.from.each(t.query(">= ? ORDER BY rowid"), t.take, next)
		corrupt := is(err, sqlite3.ErrCorrupt)
		if corrupt || err == nil {
			err = errors.Join(t.put(), r.ctx.Err())
		}
		if err != nil || !corrupt {
			return t.lost, err
		}
		t.lost = true
		if next, more, err = t.behind(max(next, t.highest+1)); err != nil {
			return true, err
		}
	}
	return t.lost, nil
}

// tableCopy is one table on its way. A row waits until the next one has a higher
// id: what a flipped bit makes of one id must not cost the rows behind it.
type tableCopy struct {
	*rebuild
	table, list, insert string
	held                []driver.Value
	highest             int64 // id that was put
	lost                bool
}

// query reads rows of the table with their id first.
func (t *tableCopy) query(where string) string {
	return "SELECT rowid, " + t.list + " FROM " + t.table + " WHERE rowid " + where
}

// take takes the next row.
func (t *tableCopy) take(row []driver.Value) error {
	id, _ := row[0].(int64)
	switch {
	case id <= t.highest: // it pretends a lower id
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
	_, _, err := t.to.exec(t.insert, row[1:]...)
	if is(err, sqlite3.ErrConstraint) {
		t.lost = true
		return nil
	}
	return err
}

// behind finds the first id from next on that can be read, where what stands there
// cannot.
func (t *tableCopy) behind(next int64) (id int64, more bool, err error) {
	for {
		// Damage behind the row's own page, in a long value, leaves its id.
		row, err := t.from.first("SELECT rowid FROM "+t.table+" WHERE rowid >= ? ORDER BY rowid LIMIT 1", next)
		switch {
		case err == nil && row == nil:
			return 0, false, nil
		case is(err, sqlite3.ErrCorrupt) || err == nil && row[0].(int64) < next:
			return t.behindPage(next)
		case err != nil:
			return 0, false, err
		}
		id := row[0].(int64)
		row, err = t.from.first(t.query("= ?"), id)
		if err == nil && row != nil {
			return id, true, nil
		}
		if err != nil && !is(err, sqlite3.ErrCorrupt) || id == math.MaxInt64 {
			return 0, false, err
		}
		next = id + 1
	}
}

// behindPage finds the first id behind a page whose ids cannot be read. The ids of
// a page are one run, and of nothing else.
func (t *tableCopy) behindPage(next int64) (id int64, more bool, err error) {
	const ids = "SELECT rowid FROM %s WHERE rowid >= ? ORDER BY rowid LIMIT 1"
	readable := func(id int64) bool {
		if err == nil {
			_, err = t.from.first(fmt.Sprintf(ids, t.table), id)
		}
		if is(err, sqlite3.ErrCorrupt) {
			err = nil
			return false
		}
		return true
	}
	bad, good := next, int64(-1)
	for step := int64(1); good < 0; step *= 2 {
		id := next + step
		if id < next || step <= 0 {
			return 0, false, err
		}
		if readable(id) {
			good = id
		} else {
			bad = id
		}
	}
	for good-bad > 1 {
		if middle := bad + (good-bad)/2; readable(middle) {
			good = middle
		} else {
			bad = middle
		}
	}
	return good, true, err
}
