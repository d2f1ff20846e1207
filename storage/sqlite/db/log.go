package db

import "database/sql/driver"

// Log is the state of the write-ahead log: how many pages it has, and how many of them are
// already in the database.
type Log struct {
	Pages, Done int64
}

// Checkpoint runs one of SQLite's checkpoints and returns the state of the log after it.
// mode is PASSIVE, RESTART or another that SQLite knows; NOOP only returns the state.
func (c *Conn) Checkpoint(mode string) (l Log, err error) {
	err = c.Each("PRAGMA wal_checkpoint="+mode, func(row []driver.Value) error {
		l = Log{row[1].(int64), row[2].(int64)}
		return nil
	})
	return l, err
}
