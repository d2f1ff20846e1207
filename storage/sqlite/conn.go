package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"
	"runtime"

	"github.com/mattn/go-sqlite3"
	"golang.org/x/sys/unix"

	"mailsrv/storage"
)

// conn is one connection with its prepared statements, for one goroutine at a
// time. It uses the driver's own interface: database/sql would cost as much as
// the queries do. No context is handed down but by eachUntil: a statement
// interrupted in the middle of a transaction that writes rolls all of it back.
type conn struct {
	*sqlite3.SQLiteConn
	statements map[string]*sqlite3.SQLiteStmt
	row        []driver.Value
}

// setting is a pragma and what it must read back as.
type setting struct {
	name, value string
	want        driver.Value
}

// busyTimeout is how long a statement waits for another process, in ms.
const busyTimeout = "5000"

// settings are applied to every connection and asserted. DESIGN.md says why
// each.
var settings = []setting{
	{"busy_timeout", busyTimeout, int64(5000)},
	{"journal_mode", "WAL", "wal"},
	{"synchronous", "FULL", int64(2)},
	{"foreign_keys", "ON", int64(1)},
	{"trusted_schema", "OFF", int64(0)},
	{"cell_size_check", "ON", int64(1)},
	{"journal_size_limit", "67108864", int64(64 << 20)},
	{"wal_autocheckpoint", "4000", int64(maxWALPages)},
}

// maxWALPages is how long the write-ahead log may become before it is brought
// into the database; a writer on a small disk brings it earlier.
const maxWALPages = 4000

// pageSize holds a common message without an overflow page; it counts for new
// databases only.
const pageSize = 8192

// openConn opens the database file at path with a page cache of cacheKiB KiB.
func openConn(path string, cacheKiB int) (*conn, error) {
	opened, err := (&sqlite3.SQLiteDriver{}).Open(databaseURI(path))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	c := newConn(opened)
	if err := c.apply(cacheKiB); err != nil {
		c.Close()
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return c, nil
}

func newConn(opened driver.Conn) *conn {
	return &conn{SQLiteConn: opened.(*sqlite3.SQLiteConn), statements: map[string]*sqlite3.SQLiteStmt{}}
}

// databaseURI names a file to SQLite, whatever characters its path has.
func databaseURI(path string) string {
	return (&url.URL{Scheme: "file", Path: path, RawQuery: "_mutex=no"}).String() // a connection has one goroutine at a time
}

func (c *conn) apply(cacheKiB int) error {
	first := fmt.Sprintf("PRAGMA page_size = %d; PRAGMA cache_size = -%d", pageSize, cacheKiB)
	if err := c.script(first); err != nil {
		return err
	}
	for _, s := range settings {
		if err := c.script("PRAGMA " + s.name + " = " + s.value); err != nil {
			return fmt.Errorf("set %s: %w", s.name, err)
		}
		var got driver.Value
		err := c.each("PRAGMA "+s.name, func(row []driver.Value) error { got = row[0]; return nil })
		if err != nil {
			return fmt.Errorf("read %s: %w", s.name, err)
		}
		if got != s.want {
			return fmt.Errorf("%s is %v, not %v: mail would not be safe on this file system", s.name, got, s.want)
		}
	}
	return nil
}

// openWriter opens a connection that commits. SQLite brings what it commits into the
// database once the write-ahead log has walPages pages, and with 0 never.
func openWriter(path string, walPages int64) (*conn, error) {
	c, err := openConn(path, writerCacheKiB)
	if err != nil {
		return nil, err
	}
	if err := c.script(fmt.Sprintf("PRAGMA wal_autocheckpoint = %d", walPages)); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Close finalizes the statements and closes the connection.
func (c *conn) Close() error {
	for _, s := range c.statements {
		s.Close()
	}
	clear(c.statements)
	return c.SQLiteConn.Close()
}

// script runs statements without arguments that are not worth keeping.
func (c *conn) script(text string) error {
	_, err := c.Exec(text, nil)
	return err
}

// prepared returns the statement for query, which should be a constant.
func (c *conn) prepared(query string) (*sqlite3.SQLiteStmt, error) {
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

// exec runs one statement and returns the rows it changed and the last rowid
// it inserted.
func (c *conn) exec(query string, args ...driver.Value) (changed, rowid int64, err error) {
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

// each calls f with every row of a query. The row is valid during the call,
// but its []byte values may be kept. f must not use the same query again.
func (c *conn) each(query string, f func(row []driver.Value) error, args ...driver.Value) error {
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

// eachUntil is each for a query without arguments that ctx interrupts: for a
// connection that writes nothing, where no transaction is rolled back for it.
func (c *conn) eachUntil(ctx context.Context, query string, f func(row []driver.Value) error) error {
	s, err := c.prepared(query)
	if err != nil {
		return err
	}
	rows, err := s.QueryContext(ctx, nil)
	if err == nil {
		err = eachRow(rows, f)
	}
	if is(err, sqlite3.ErrInterrupt) {
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

// first returns the first row of a query, or nil if there is none. The row is
// valid until the next call.
func (c *conn) first(query string, args ...driver.Value) ([]driver.Value, error) {
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

// number returns the single integer that a query yields, 0 for NULL or no row.
func (c *conn) number(query string, args ...driver.Value) (int64, error) {
	row, err := c.first(query, args...)
	if err != nil || row == nil {
		return 0, err
	}
	n, _ := row[0].(int64)
	return n, nil
}

// is reports whether err is SQLite's result code.
func is(err error, code sqlite3.ErrNo) bool {
	var e sqlite3.Error
	return errors.As(err, &e) && e.Code == code
}

// isFull reports whether err says that the disk is full, or the owner's share
// of it. Where SQLite cannot enlarge its index of the write-ahead log it speaks
// of an I/O error instead.
func isFull(err error) bool {
	var e sqlite3.Error
	return errors.As(err, &e) && (e.Code == sqlite3.ErrFull || e.SystemErrno == unix.ENOSPC || e.SystemErrno == unix.EDQUOT)
}

// named gives damage of the whole database the name that it has in the contract.
func named(err error) error {
	switch {
	case isDamage(err) && !errors.Is(err, storage.ErrCorrupt):
		return fmt.Errorf("%w: %w", storage.ErrCorrupt, err)
	case is(err, sqlite3.ErrNotADB):
		return fmt.Errorf("%w, or %w", err, storage.ErrLost)
	}
	return err
}

// What damage leaves of rows where SQLite finds its pages sound.
var (
	errRow   = errors.New("a row is not as the schema has it") // such as a page holds that was overwritten with zeros
	errTwice = errors.New("a folder gave a uid twice")
)

// isDamage reports whether err says that the database is damaged.
func isDamage(err error) bool {
	return is(err, sqlite3.ErrCorrupt) || errors.Is(err, errRow) || errors.Is(err, errTwice)
}

// guarded returns what f does, and errRow when f asserts a type that a row does not
// have: all who scan rows rely on the schema.
func guarded(f func() error) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case *runtime.TypeAssertionError:
			err = errRow
		default:
			panic(p)
		}
	}()
	return f()
}

// Version is SQLite's version.
func Version() string {
	version, _, _ := sqlite3.Version()
	return version
}
