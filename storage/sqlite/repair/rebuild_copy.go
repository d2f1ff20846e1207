package repair

import (
	"context"
	"database/sql/driver"
	"fmt"
	"os"

	"github.com/mattn/go-sqlite3"

	"mailsrv/storage"
	"mailsrv/storage/sqlite/db"
	"mailsrv/storage/sqlite/tables"
)

// rebuild is one run of Rebuild, which copies the database from into to.
type rebuild struct {
	ctx      context.Context
	path     string
	from, to *db.Conn
	pages    *os.File // the database file of from
	pageSize int64    // octets
	version  int64    // data_version of from when the copy began
	report   func(storage.Finding)
}

// loss reports something that is lost, or what became of it.
func (r *rebuild) loss(text string, remedy storage.Remedy) {
	r.report(storage.Finding{Text: text, Remedy: remedy})
}

// Paths of what is kept beside the new database.
func (r *rebuild) damaged() string  { return r.path + ".damaged" }
func (r *rebuild) lost() string     { return r.path + ".lost" }
func (r *rebuild) lostPart() string { return r.path + ".lost.new" } // until the exchange

// read calls f with the rows of a query of the old database, and reports whether damage
// ended the query. Errors of f do not count as damage.
func (r *rebuild) read(query string, f func(row []driver.Value) error, args ...driver.Value) (damaged bool, err error) {
	var failed error
	err = r.from.Each(query, func(row []driver.Value) error {
		failed = f(row)
		return failed
	}, args...)
	if failed == nil && db.Is(err, sqlite3.ErrCorrupt) {
		return true, nil
	}
	return false, err
}

// table is a table of the old database, with the number of its root page.
type table struct {
	name string
	root int64
}

// copyAll copies the schema and each table, and then rescues what it can of lost rows.
func (r *rebuild) copyAll() error {
	all, others, err := r.copySchema()
	if err != nil {
		return err
	}
	lost := map[string]bool{}
	for _, t := range all {
		if lost[t.name], err = r.copyTable(t); err != nil {
			return fmt.Errorf("table %s: %w", t.name, err)
		}
		if lost[t.name] {
			if err := r.fromIndex(t.name); err != nil {
				return fmt.Errorf("table %s: %w", t.name, err)
			}
		}
	}
	for _, other := range others {
		if _, err := r.to.ExecContext(r.ctx, other, nil); err != nil {
			return err
		}
	}
	if err := r.rescue(lost); err != nil {
		return err
	}
	return r.to.Script("COMMIT")
}

// copySchema creates the tables in the new database, and returns them. others are the
// statements that create indexes and views, for when the tables are full.
func (r *rebuild) copySchema() (all []table, others []string, err error) {
	if r.pageSize, err = r.from.Number("PRAGMA page_size"); err != nil {
		return nil, nil, err
	}
	version, err := r.from.Number("PRAGMA user_version")
	if err != nil {
		return nil, nil, err
	}
	// An incomplete new file is of no use to anybody, so it needs no journal.
	err = r.to.Script(fmt.Sprintf("PRAGMA page_size = %d; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN; PRAGMA application_id = %d; PRAGMA user_version = %d",
		r.pageSize, tables.ApplicationID, version))
	if err != nil {
		return nil, nil, err
	}
	err = r.from.Each("SELECT type, name, rootpage, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'", func(row []driver.Value) error {
		if row[0].(string) != "table" {
			others = append(others, row[3].(string))
			return nil
		}
		all = append(all, table{row[1].(string), row[2].(int64)})
		return r.to.Script(row[3].(string))
	})
	return all, others, err
}

// rescue does what can be done for the tables that have lost rows.
func (r *rebuild) rescue(lost map[string]bool) error {
	for _, t := range neverTwice {
		if err := r.copyHighest(t); err != nil {
			return err
		}
	}
	if lost["mailbox"] || lost["folder"] {
		if err := r.holdMailboxes(); err != nil {
			return err
		}
	}
	if lost["entry"] || lost["arrival"] || lost["removed"] || lost["body"] {
		return r.saveOwnerless()
	}
	return nil
}
