// Package db opens SQLite databases. It has connections with the settings that mail needs,
// a pool of connections that only read, the meaning of SQLite's errors, and the locks and
// files of a database. It knows no table.
package db
