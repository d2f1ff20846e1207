package sqlite

import "github.com/mattn/go-sqlite3"

// ioError is what the driver returns when the disk fails.
func ioError() error { return sqlite3.Error{Code: sqlite3.ErrIoErr} }
