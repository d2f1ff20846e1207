package db

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"

	"github.com/mattn/go-sqlite3"
)

// Conn is one connection with its prepared statements. It is not safe for concurrent use.
// It uses the driver's own interface: database/sql would cost as much as the queries
// themselves. Only [Conn.EachUntil] takes a context: interrupting a statement in a
// transaction that writes would roll back the whole transaction.
type Conn struct {
	*sqlite3.SQLiteConn
	statements map[string]*sqlite3.SQLiteStmt
	row        []driver.Value
}

// setting is a pragma, the value that it is set to, and the value that SQLite must then
// return for it.
type setting struct {
	name, value string
	want        driver.Value
}

// BusyTimeout is how long a statement waits for a lock of another process, in ms.
const BusyTimeout = "5000"

// settings are set and verified for every connection. DESIGN.md gives the reason for each.
var settings = []setting{
	{"busy_timeout", BusyTimeout, int64(5000)},
	{"journal_mode", "WAL", "wal"},
	{"synchronous", "FULL", int64(2)},
	{"foreign_keys", "ON", int64(1)},
	{"trusted_schema", "OFF", int64(0)},
	{"cell_size_check", "ON", int64(1)},
	{"journal_size_limit", "67108864", int64(64 << 20)},
	{"wal_autocheckpoint", "4000", int64(MaxLogPages)},
}

// Sizes of page caches in KiB. A writer's cache has room for the pages that deliveries to
// random maildrops change, a reader's only for the inner pages of the trees.
const (
	WriterCacheKiB = 32 << 10
	ReaderCacheKiB = 2 << 10
)

// MaxLogPages is how many pages the write-ahead log may have before a checkpoint copies it
// into the database. On a small disk a writer does that earlier.
const MaxLogPages = 4000

// PageSize is the size of a page in octets. A common message fits without an overflow
// page. It applies only to new databases.
const PageSize = 8192

// Open opens the database file at path with a page cache of cacheKiB KiB, and applies all
// settings. It creates a missing file. The caller closes the connection.
func Open(path string, cacheKiB int) (*Conn, error) {
	c, err := connect(uri(path))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if err := c.Apply(cacheKiB); err != nil {
		c.Close()
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return c, nil
}

// OpenPlain opens the database file at path, which must exist, and changes nothing in it:
// no setting is applied before [Conn.Apply] is called. It is for files that may be another
// program's, and for files that are no store. The caller closes the connection.
func OpenPlain(path string) (*Conn, error) { return connect(uri(path) + "&mode=rw") }

func connect(uri string) (*Conn, error) {
	opened, err := (&sqlite3.SQLiteDriver{}).Open(uri)
	if err != nil {
		return nil, err
	}
	return &Conn{SQLiteConn: opened.(*sqlite3.SQLiteConn), statements: map[string]*sqlite3.SQLiteStmt{}}, nil
}

// uri returns the URI of a file for SQLite, whatever characters its path has.
func uri(path string) string {
	return (&url.URL{Scheme: "file", Path: path, RawQuery: "_mutex=no"}).String() // SQLite need not lock: a Conn has one goroutine at a time
}

// Apply applies the settings of a store's connections, with a page cache of cacheKiB KiB.
// It returns an error if SQLite does not take one of them.
func (c *Conn) Apply(cacheKiB int) error {
	first := fmt.Sprintf("PRAGMA page_size = %d; PRAGMA cache_size = -%d", PageSize, cacheKiB)
	if err := c.Script(first); err != nil {
		return err
	}
	for _, s := range settings {
		if err := c.Script("PRAGMA " + s.name + " = " + s.value); err != nil {
			return fmt.Errorf("set %s: %w", s.name, err)
		}
		var got driver.Value
		err := c.Each("PRAGMA "+s.name, func(row []driver.Value) error { got = row[0]; return nil })
		if err != nil {
			return fmt.Errorf("read %s: %w", s.name, err)
		}
		if got != s.want {
			return fmt.Errorf("%s is %v, not %v: mail would not be safe on this file system", s.name, got, s.want)
		}
	}
	return nil
}

// OpenWriter is as [Open], for a connection that commits. SQLite itself runs a checkpoint
// at a COMMIT once the write-ahead log has walPages pages; 0: never.
func OpenWriter(path string, walPages int64) (*Conn, error) {
	c, err := Open(path, WriterCacheKiB)
	if err != nil {
		return nil, err
	}
	if err := c.Script(fmt.Sprintf("PRAGMA wal_autocheckpoint = %d", walPages)); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Close finalizes the statements and closes the connection.
func (c *Conn) Close() error {
	for _, s := range c.statements {
		s.Close()
	}
	clear(c.statements)
	return c.SQLiteConn.Close()
}

// Script runs one or more statements without arguments. They are not kept prepared.
func (c *Conn) Script(text string) error {
	_, err := c.SQLiteConn.Exec(text, nil)
	return err
}

// prepared returns the prepared statement for query. It is kept until Close, so query
// should be one of few texts.
func (c *Conn) prepared(query string) (*sqlite3.SQLiteStmt, error) {
	if s := c.statements[query]; s != nil {
		return s, nil
	}
	s, err := c.Prepare(query)
	if err != nil {
		return nil, fmt.Errorf("prepare %q: %w", query, err)
	}
	c.statements[query] = s.(*sqlite3.SQLiteStmt)
	return c.statements[query], nil
}

// Exec runs one statement. It returns how many rows that changed, and the rowid that was
// inserted last on this connection.
func (c *Conn) Exec(query string, args ...driver.Value) (changed, rowid int64, err error) {
	s, err := c.prepared(query)
	if err != nil {
		return 0, 0, err
	}
	result, err := s.Exec(args)
	if err != nil {
		return 0, 0, err
	}
	changed, _ = result.RowsAffected()
	rowid, _ = result.LastInsertId()
	return changed, rowid, nil
}

// Each calls f with every row of a query, until f returns an error, which Each returns.
// The row is valid only during the call, but f may keep its []byte values. f must not run
// the same query.
func (c *Conn) Each(query string, f func(row []driver.Value) error, args ...driver.Value) error {
	s, err := c.prepared(query)
	if err != nil {
		return err
	}
	rows, err := s.Query(args)
	if err != nil {
		return err
	}
	return eachRow(rows, f)
}

// EachUntil is as [Conn.Each] for a query without arguments, and ends with the context's
// error if ctx is done. It is for connections that write nothing, so that the interruption
// rolls back nothing.
func (c *Conn) EachUntil(ctx context.Context, query string, f func(row []driver.Value) error) error {
	s, err := c.prepared(query)
	if err != nil {
		return err
	}
	rows, err := s.QueryContext(ctx, nil)
	if err == nil {
		err = eachRow(rows, f)
	}
	if Is(err, sqlite3.ErrInterrupt) {
		return ctx.Err()
	}
	return err
}

func eachRow(rows driver.Rows, f func(row []driver.Value) error) error {
	defer rows.Close()
	dest := make([]driver.Value, len(rows.Columns()))
	for {
		switch err := rows.Next(dest); {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
		if err := f(dest); err != nil {
			return err
		}
	}
}

// First returns the first row of a query, or nil if there is none. The row is valid until
// the next call of First or [Conn.Number] on this connection.
func (c *Conn) First(query string, args ...driver.Value) ([]driver.Value, error) {
	s, err := c.prepared(query)
	if err != nil {
		return nil, err
	}
	rows, err := s.Query(args)
	if err != nil {
		return nil, err
	}
	n := len(rows.Columns())
	if cap(c.row) < n {
		c.row = make([]driver.Value, n)
	}
	err = rows.Next(c.row[:n])
	if closed := rows.Close(); err == nil {
		err = closed
	}
	switch {
	case err == io.EOF:
		return nil, nil
	case err != nil:
		return nil, err
	}
	return c.row[:n], nil
}

// Number returns the integer in the first column of a query's first row. It is 0 if there
// is no row or no integer.
func (c *Conn) Number(query string, args ...driver.Value) (int64, error) {
	row, err := c.First(query, args...)
	if err != nil || row == nil {
		return 0, err
	}
	n, _ := row[0].(int64)
	return n, nil
}

// Transaction runs begin, which is "BEGIN" or "BEGIN IMMEDIATE", calls f, and commits. If f
// or the COMMIT fails, the transaction is rolled back.
func (c *Conn) Transaction(begin string, f func(*Conn) error) error {
	if _, _, err := c.Exec(begin); err != nil {
		return err
	}
	err := Guarded(func() error { return f(c) })
	if err == nil {
		if _, _, err = c.Exec("COMMIT"); err == nil {
			return nil
		}
	}
	if c.AutoCommit() { // SQLite has rolled back by itself
		return err
	}
	_, _, end := c.Exec("ROLLBACK")
	return errors.Join(err, end)
}

// Version returns SQLite's version.
func Version() string {
	version, _, _ := sqlite3.Version()
	return version
}
