package sqlite

import (
	_ "embed"
	"errors"
	"fmt"
)

//go:embed schema.sql
var schema string

// applicationID marks the file as ours ("mail" in ASCII), so that another
// program's database given by mistake is not written to.
const applicationID = 0x6d61696c

// migrations bring an older database up to date: migrations[i] leads from
// version i+1 to i+2. schema.sql is always the newest.
var migrations = []string{sortEntries}

// sortEntries puts the entries of a maildrop side by side; they stood in the order
// of their commits.
const sortEntries = `
CREATE TABLE new_maildrop (
    id       INTEGER PRIMARY KEY CHECK (id < 1 << 23),
    octets   INTEGER NOT NULL DEFAULT 0,
    messages INTEGER NOT NULL DEFAULT 0,
    last     INTEGER NOT NULL DEFAULT 0 CHECK (last < 1 << 40)
) STRICT;
INSERT INTO new_maildrop SELECT id, octets, messages, last FROM maildrop ORDER BY id;
DROP TABLE maildrop;
ALTER TABLE new_maildrop RENAME TO maildrop;
CREATE TABLE new_entry (
    id        INTEGER PRIMARY KEY,
    octets    INTEGER NOT NULL,
    body      INTEGER NOT NULL,
    shared    INTEGER NOT NULL,
    uidl      TEXT    NOT NULL,
    own       TEXT    NOT NULL,
    retrieved INTEGER,
    maildrop  INTEGER AS (id >> 40) VIRTUAL,
    sequence  INTEGER AS (id & (1 << 40) - 1) VIRTUAL
) STRICT;
INSERT INTO new_entry (id, octets, body, shared, uidl, own, retrieved)
SELECT maildrop << 40 | sequence, octets, body, shared, uidl, own, retrieved FROM entry ORDER BY maildrop, sequence;
DROP TABLE entry;
ALTER TABLE new_entry RENAME TO entry;
CREATE INDEX entry_retrieved ON entry (maildrop, retrieved) WHERE retrieved IS NOT NULL;
CREATE TABLE arrival (
    number INTEGER PRIMARY KEY,
    id     INTEGER NOT NULL,
    octets INTEGER NOT NULL,
    body   INTEGER NOT NULL,
    shared INTEGER NOT NULL,
    uidl   TEXT    NOT NULL,
    own    TEXT    NOT NULL
) STRICT;
CREATE VIEW message AS
SELECT id, octets, body, shared, uidl, own, maildrop, sequence FROM entry
UNION ALL
SELECT id, octets, body, shared, uidl, own, id >> 40, id & (1 << 40) - 1 FROM arrival;
`

// ErrNewer says that a later release wrote the database.
var ErrNewer = errors.New("the database was written by a newer mailsrv: install that version, or restore a backup made by this one")

func newerError(version, newest int64) error {
	return fmt.Errorf("%w (schema %d, known up to %d)", ErrNewer, version, newest)
}

// errForeign says that the file is not ours.
var errForeign = errors.New("the file holds another program's database: choose another data_dir or storage.dsn")

// migrate creates the schema in an empty database or upgrades an older one, in
// one transaction; before an upgrade it calls before. Two processes may call it
// at once.
func migrate(c *conn, schema string, migrations []string, before func(version int64) error) error {
	newest := int64(len(migrations) + 1)
	version, err := c.number("PRAGMA user_version")
	if err != nil || version == newest {
		return err
	}
	if 0 < version && version < newest {
		if err := before(version); err != nil {
			return err
		}
	}
	if err := c.script("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	if err := migrateLocked(c, schema, migrations, newest); err != nil {
		return errors.Join(err, c.script("ROLLBACK"))
	}
	return c.script("COMMIT")
}

func migrateLocked(c *conn, schema string, migrations []string, newest int64) error {
	version, err := c.number("PRAGMA user_version") // again, now that nobody else writes
	if err != nil {
		return err
	}
	switch {
	case version > newest:
		return newerError(version, newest)
	case version == 0:
		tables, err := c.number("SELECT count(*) FROM sqlite_schema")
		if err != nil {
			return err
		}
		if tables > 0 {
			return errForeign
		}
		if err := c.script(schema); err != nil {
			return fmt.Errorf("create the schema: %w", err)
		}
		if err := c.script(fmt.Sprintf("PRAGMA application_id = %d", applicationID)); err != nil {
			return err
		}
	default:
		for v := version; v < newest; v++ {
			if err := c.script(migrations[v-1]); err != nil {
				return fmt.Errorf("upgrade from schema %d to %d: %w", v, v+1, err)
			}
		}
	}
	return c.script(fmt.Sprintf("PRAGMA user_version = %d", newest))
}
