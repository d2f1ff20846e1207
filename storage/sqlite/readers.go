package sqlite

import (
	"context"
	"database/sql/driver"
)

// readers is a pool of connections that only read. They are opened when first
// needed.
type readers struct {
	path  string
	slots chan *conn // nil stands for one not opened yet
}

func newReaders(path string, n int) readers {
	r := readers{path: path, slots: make(chan *conn, n)}
	for range n {
		r.slots <- nil
	}
	return r
}

// use lends a connection to f. ctx ends the wait for one, not the reading.
func (r *readers) use(ctx context.Context, f func(*conn) error) error {
	var c *conn
	select {
	case c = <-r.slots:
	case <-ctx.Done():
		return ctx.Err()
	}
	if c == nil {
		opened, err := openConn(r.path, readerCacheKiB)
		if err == nil {
			err = opened.script("PRAGMA query_only = ON")
		}
		if err != nil {
			r.slots <- nil
			return err
		}
		c = opened
	}
	defer func() { r.slots <- c }()
	return named(guarded(func() error { return f(c) }))
}

// snapshot lends a connection inside a read transaction: all that f reads is
// of one moment.
func (r *readers) snapshot(ctx context.Context, f func(*conn) error) error {
	return r.use(ctx, func(c *conn) error {
		if _, _, err := c.exec("BEGIN"); err != nil {
			return err
		}
		err := f(c)
		// COMMIT would fail once more for a damaged page that f met, and leave the
		// connection inside the transaction.
		if _, _, end := c.exec("ROLLBACK"); err == nil {
			err = end
		}
		return err
	})
}

// collect returns what scan makes of every row of a query.
func collect[T any](ctx context.Context, r *readers, scan func(row []driver.Value) T, query string, args ...driver.Value) ([]T, error) {
	var all []T
	err := r.use(ctx, func(c *conn) error {
		return c.each(query, func(row []driver.Value) error {
			all = append(all, scan(row))
			return nil
		}, args...)
	})
	return all, err
}

// close waits for all connections and closes them.
func (r *readers) close() {
	for range cap(r.slots) {
		if c := <-r.slots; c != nil {
			c.Close()
		}
	}
}
