package tables

import (
	_ "embed"
	"errors"
	"fmt"

	"github.com/mattn/go-sqlite3"

	"mailsrv/storage"
	"mailsrv/storage/sqlite/db"
)

//go:embed schema.sql
var schema string

// ApplicationID marks the file as ours ("msrv" in ASCII), so that we do not write to
// another program's database that was given by mistake. Builds before the first release
// had another data model and the id earlyApplicationID.
const (
	ApplicationID      = 0x6d737276
	earlyApplicationID = 0x6d61696c
)

// Edition is a schema, and the migrations that lead to it.
//
// A store holds two numbers: the number of its schema (user_version), and the least schema
// whose program may still write to it (store.least). A new column or table that older
// programs need not know leaves the second number as it is: an older program can then work
// beside a newer one. One that every writer must maintain, such as a counter or a log,
// raises it.
type Edition struct {
	Schema     string      // of a new database; always the newest
	Migrations []Migration // Migrations[i] leads from schema i+1 to i+2
}

// Migration upgrades a database from one schema to the next.
type Migration struct {
	Script string
	Least  int64 // the least schema that may write afterwards; 0: as before
}

// Current is the edition of this program.
var Current = Edition{Schema: schema}

// Newest returns the number of the edition's schema.
func (e Edition) Newest() int64 { return int64(len(e.Migrations) + 1) }

// Least returns the least schema whose program may write to a store of this edition.
func (e Edition) Least() int64 {
	least := int64(1)
	for _, m := range e.Migrations {
		least = max(least, m.Least)
	}
	return least
}

// Origin is what a database says about its own schema.
type Origin struct {
	Empty         bool // nothing is in it yet
	Schema, Least int64
}

// OriginOf reads the origin of a database. Errors: [storage.ErrNewer] if a program whose
// schema is newest may not write to it, [storage.ErrEarly], [storage.ErrForeign], or an
// unexpected one. Least is only read if the schema is above newest.
func OriginOf(c *db.Conn, newest int64) (o Origin, err error) {
	row, err := c.First("SELECT * FROM pragma_application_id, pragma_user_version, (SELECT count(*) FROM sqlite_schema)")
	if err != nil {
		return o, err
	}
	application, tables := row[0].(int64), row[2].(int64)
	o.Schema = row[1].(int64)
	switch {
	case application == 0 && o.Schema == 0 && tables == 0:
		return Origin{Empty: true}, nil
	case application == earlyApplicationID:
		return o, storage.ErrEarly
	case application != ApplicationID || o.Schema <= 0:
		return o, storage.ErrForeign
	case o.Schema <= newest:
		return o, nil
	}
	if o.Least, err = c.Number("SELECT least FROM store"); err != nil && !db.Is(err, sqlite3.ErrError) {
		return o, err
	}
	if o.Least < 1 || o.Least > newest {
		return o, NewerError(o.Schema, newest)
	}
	return o, nil
}

// NewerError returns [storage.ErrNewer] with both numbers in its text.
func NewerError(schema, newest int64) error {
	return fmt.Errorf("%w (schema %d, known up to %d)", storage.ErrNewer, schema, newest)
}

// Migrate creates the schema in an empty database, or upgrades an older one, in one
// transaction of its own. Before an upgrade it calls before, whose error ends it. It
// returns the number of the database's schema afterwards. That is above e.Newest() if the
// database is newer and a program of this edition may still write to it. Two processes may
// call it at the same time. Errors: as [OriginOf].
func (e Edition) Migrate(c *db.Conn, before func(schema int64) error) (schema int64, err error) {
	o, err := OriginOf(c, e.Newest())
	if err != nil || o.Schema >= e.Newest() {
		return o.Schema, err
	}
	if !o.Empty {
		if err := before(o.Schema); err != nil {
			return o.Schema, err
		}
	}
	if err := c.Script("BEGIN IMMEDIATE"); err != nil {
		return o.Schema, err
	}
	if schema, err = e.migrateLocked(c); err != nil {
		return schema, errors.Join(err, c.Script("ROLLBACK"))
	}
	return schema, c.Script("COMMIT")
}

// migrateLocked is Migrate inside the transaction.
func (e Edition) migrateLocked(c *db.Conn) (schema int64, err error) {
	o, err := OriginOf(c, e.Newest()) // again, now that nobody else can write
	if err != nil || o.Schema >= e.Newest() {
		return o.Schema, err
	}
	if o.Empty {
		err := c.Script(fmt.Sprintf("%s; PRAGMA application_id = %d", e.Schema, ApplicationID))
		if err != nil {
			return 0, fmt.Errorf("create the schema: %w", err)
		}
	} else {
		for v := o.Schema; v < e.Newest(); v++ {
			if err := c.Script(e.Migrations[v-1].Script); err != nil {
				return o.Schema, fmt.Errorf("upgrade from schema %d to %d: %w", v, v+1, err)
			}
		}
	}
	return e.Newest(), c.Script(fmt.Sprintf("UPDATE store SET least = %d; PRAGMA user_version = %d", e.Least(), e.Newest()))
}
