// Package db opens SQLite databases: connections with the settings that mail needs,
// a pool of those that only read, what errors say of the disk, and the locks and files
// of a database. It knows no table.
package db
