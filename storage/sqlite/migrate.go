package sqlite

import (
	_ "embed"
	"errors"
	"fmt"

	"github.com/mattn/go-sqlite3"

	"mailsrv/storage"
)

//go:embed schema.sql
var schema string

// applicationID marks the file as ours ("msrv" in ASCII), so that another program's
// database given by mistake is not written to. Builds before the first release had
// another model and another id.
const (
	applicationID      = 0x6d737276
	earlyApplicationID = 0x6d61696c
)

// edition is a schema and the ways to it.
//
// A store holds two numbers: that of its schema (user_version), and the least schema
// whose program may still write (store.least). A column or table that nobody else
// needs to know leaves the second as it is: an older program then works beside a newer
// one. What every writer must keep, such as a counter or a log, raises it.
type edition struct {
	schema     string      // of a new database; always the newest
	migrations []migration // migrations[i] leads from schema i+1 to i+2
}

// migration leads from one schema to the next.
type migration struct {
	script string
	least  int64 // the least schema that may write afterwards; 0: as before
}

// current is the edition of this program.
var current = edition{schema: schema}

// newest is the number of the edition's schema.
func (e edition) newest() int64 { return int64(len(e.migrations) + 1) }

// least is the least schema that may write to a store of this edition.
func (e edition) least() int64 {
	least := int64(1)
	for _, m := range e.migrations {
		least = max(least, m.least)
	}
	return least
}

// origin is what a database says of itself.
type origin struct {
	empty         bool // nothing is in it yet
	schema, least int64
}

// originOf reads where a database comes from. storage.ErrNewer if a program of schema
// newest may not write to it, storage.ErrEarly, storage.ErrForeign.
func originOf(c *conn, newest int64) (o origin, err error) {
	row, err := c.first("SELECT * FROM pragma_application_id, pragma_user_version, (SELECT count(*) FROM sqlite_schema)")
	if err != nil {
		return o, err
	}
	application, tables := row[0].(int64), row[2].(int64)
	o.schema = row[1].(int64)
	switch {
	case application == 0 && o.schema == 0 && tables == 0:
		return origin{empty: true}, nil
	case application == earlyApplicationID:
		return o, storage.ErrEarly
	case application != applicationID || o.schema <= 0:
		return o, storage.ErrForeign
	case o.schema <= newest:
		return o, nil
	}
	if o.least, err = c.number("SELECT least FROM store"); err != nil && !is(err, sqlite3.ErrError) {
		return o, err
	}
	if o.least < 1 || o.least > newest {
		return o, newerError(o.schema, newest)
	}
	return o, nil
}

func newerError(schema, newest int64) error {
	return fmt.Errorf("%w (schema %d, known up to %d)", storage.ErrNewer, schema, newest)
}

// migrate creates the schema in an empty database or upgrades an older one, in
// one transaction; before an upgrade it calls before. It returns the number of the
// schema then, which is higher than the edition's where that may write all the same.
// Two processes may call it at once.
func (e edition) migrate(c *conn, before func(schema int64) error) (schema int64, err error) {
	o, err := originOf(c, e.newest())
	if err != nil || o.schema >= e.newest() {
		return o.schema, err
	}
	if !o.empty {
		if err := before(o.schema); err != nil {
			return o.schema, err
		}
	}
	if err := c.script("BEGIN IMMEDIATE"); err != nil {
		return o.schema, err
	}
	if schema, err = e.migrateLocked(c); err != nil {
		return schema, errors.Join(err, c.script("ROLLBACK"))
	}
	return schema, c.script("COMMIT")
}

func (e edition) migrateLocked(c *conn) (schema int64, err error) {
	o, err := originOf(c, e.newest()) // again, now that nobody else writes
	if err != nil || o.schema >= e.newest() {
		return o.schema, err
	}
	if o.empty {
		err := c.script(fmt.Sprintf("%s; PRAGMA application_id = %d", e.schema, applicationID))
		if err != nil {
			return 0, fmt.Errorf("create the schema: %w", err)
		}
	} else {
		for v := o.schema; v < e.newest(); v++ {
			if err := c.script(e.migrations[v-1].script); err != nil {
				return o.schema, fmt.Errorf("upgrade from schema %d to %d: %w", v, v+1, err)
			}
		}
	}
	return e.newest(), c.script(fmt.Sprintf("UPDATE store SET least = %d; PRAGMA user_version = %d", e.least(), e.newest()))
}

// errOlder says that the schema is older and stays so.
var errOlder = errors.New("the schema is an older one")

// beforeUpgrade makes sure that no server of an older version is running, nor begins
// before the store is closed.
func (s *Store) beforeUpgrade(schema int64) error {
	if s.options.AsItIs {
		return errOlder
	}
	if s.options.held {
		return nil
	}
	held, err := lockStore(s.dir, s.path)
	if err != nil {
		return fmt.Errorf("the store has schema %d and must be upgraded, which waits until its server is stopped: %w", schema, err)
	}
	s.locks = append(s.locks, held...)
	s.options.held = true
	return nil
}
