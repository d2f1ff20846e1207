package db

import "database/sql/driver"

// Log is how far the write-ahead log has got, in pages.
type Log struct {
	Pages, Done int64 // in the log, and of those in the database
}

// Checkpoint runs a checkpoint of SQLite's, or with NOOP looks at the log.
func (c *Conn) Checkpoint(mode string) (l Log, err error) {
	err = c.Each("PRAGMA wal_checkpoint="+mode, func(row []driver.Value) error {
		l = Log{row[1].(int64), row[2].(int64)}
		return nil
	})
	return l, err
}
