package db

import (
	"context"
	"database/sql/driver"
)

// Readers is a pool of connections that only read. They are opened when first needed.
// [Readers.Use], [Readers.Snapshot] and [All] are safe for concurrent use.
type Readers struct {
	path  string
	slots chan *Conn // nil: a connection that is not opened yet
}

// NewReaders makes a pool of at most n connections to the database at path.
func NewReaders(path string, n int) *Readers {
	r := &Readers{path: path, slots: make(chan *Conn, n)}
	for range n {
		r.slots <- nil
	}
	return r
}

// Use lends a connection to f, which must not keep it. ctx ends the wait for a connection,
// but not f. Errors of f go through [Guarded] and [Named].
func (r *Readers) Use(ctx context.Context, f func(*Conn) error) error {
	var c *Conn
	select {
	case c = <-r.slots:
	case <-ctx.Done():
		return ctx.Err()
	}
	if c == nil {
		opened, err := Open(r.path, ReaderCacheKiB)
		if err == nil {
			err = opened.Script("PRAGMA query_only = ON")
		}
		if err != nil {
			r.slots <- nil
			return err
		}
		c = opened
	}
	defer func() { r.slots <- c }()
	return Named(Guarded(func() error { return f(c) }))
}

// Snapshot is as [Readers.Use], inside a read transaction: all that f reads is of one
// moment.
func (r *Readers) Snapshot(ctx context.Context, f func(*Conn) error) error {
	return r.Use(ctx, func(c *Conn) error {
		if _, _, err := c.Exec("BEGIN"); err != nil {
			return err
		}
		err := f(c)
		// If f met a damaged page, COMMIT would fail as well and leave the connection
		// inside the transaction.
		if _, _, end := c.Exec("ROLLBACK"); err == nil {
			err = end
		}
		return err
	})
}

// All runs a query and returns what scan makes of each row. A row is valid only during the
// call of scan.
func All[T any](ctx context.Context, r *Readers, scan func(row []driver.Value) T, query string, args ...driver.Value) ([]T, error) {
	var all []T
	err := r.Use(ctx, func(c *Conn) error {
		return c.Each(query, func(row []driver.Value) error {
			all = append(all, scan(row))
			return nil
		}, args...)
	})
	return all, err
}

// Close waits until all connections are given back, and closes them. The pool must not be
// used afterwards.
func (r *Readers) Close() {
	for range cap(r.slots) {
		if c := <-r.slots; c != nil {
			c.Close()
		}
	}
}
