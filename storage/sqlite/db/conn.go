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

// Conn is one connection with its prepared statements, for one goroutine at a
// time. It uses the driver's own interface: database/sql would cost as much as
// the queries do. No context is handed down but by EachUntil: a statement
// interrupted in the middle of a transaction that writes rolls all of it back.
type Conn struct {
	*sqlite3.SQLiteConn
	statements map[string]*sqlite3.SQLiteStmt
	row        []driver.Value
}

// setting is a pragma and what it must read back as.
type setting struct {
	name, value string
	want        driver.Value
}

// BusyTimeout is how long a statement waits for another process, in ms.
const BusyTimeout = "5000"

// settings are applied to every connection and asserted. DESIGN.md says why
// each.
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

// Page caches in KiB. The writer's holds the pages that random maildrops
// touch; a reader's only the inner pages of the trees.
const (
	WriterCacheKiB = 32 << 10
	ReaderCacheKiB = 2 << 10
)

// MaxLogPages is how long the write-ahead log may become before it is brought
// into the database; a writer on a small disk brings it earlier.
const MaxLogPages = 4000

// PageSize holds a common message without an overflow page; it counts for new
// databases only.
const PageSize = 8192

// Open opens the database file at path with a page cache of cacheKiB KiB.
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

// OpenPlain opens the database file at path, which must be there, and changes nothing
// about it: no setting is applied before Apply is called. It is for files of which it is
// not known yet whose they are, and for those that are no store.
func OpenPlain(path string) (*Conn, error) { return connect(uri(path) + "&mode=rw") }

func connect(uri string) (*Conn, error) {
	opened, err := (&sqlite3.SQLiteDriver{}).Open(uri)
	if err != nil {
		return nil, err
	}
	return &Conn{SQLiteConn: opened.(*sqlite3.SQLiteConn), statements: map[string]*sqlite3.SQLiteStmt{}}, nil
}

// uri names a file to SQLite, whatever characters its path has.
func uri(path string) string {
	return (&url.URL{Scheme: "file", Path: path, RawQuery: "_mutex=no"}).String() // a connection has one goroutine at a time
}

// Apply sets and asserts what every connection of a store has, with a page cache of
// cacheKiB KiB.
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

// OpenWriter opens a connection that commits. SQLite brings what it commits into the
// database once the write-ahead log has walPages pages, and with 0 never.
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

// Script runs statements without arguments that are not worth keeping.
func (c *Conn) Script(text string) error {
	_, err := c.SQLiteConn.Exec(text, nil)
	return err
}

// prepared returns the statement for query, which should be a constant.
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

// Exec runs one statement and returns the rows it changed and the last rowid
// it inserted.
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

// Each calls f with every row of a query. The row is valid during the call,
// but its []byte values may be kept. f must not use the same query again.
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

// EachUntil is each for a query without arguments that ctx interrupts: for a
// connection that writes nothing, where no transaction is rolled back for it.
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

// First returns the first row of a query, or nil if there is none. The row is
// valid until the next call.
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

// Number returns the single integer that a query yields, 0 for NULL or no row.
func (c *Conn) Number(query string, args ...driver.Value) (int64, error) {
	row, err := c.First(query, args...)
	if err != nil || row == nil {
		return 0, err
	}
	n, _ := row[0].(int64)
	return n, nil
}

// Transaction calls f inside a transaction that begin begins, and commits it; where f
// fails it is rolled back.
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

// Version is SQLite's version.
func Version() string {
	version, _, _ := sqlite3.Version()
	return version
}
