// Package sqlite keeps the directory and the maildrops in one SQLite database.
//
// Reading goes through a pool of connections; every change goes through one
// committer (committer.go), which joins what waits into one transaction and
// answers after the commit. DESIGN.md beside this file says why the tables and
// the settings are as they are.
//
// What always holds: the counters in maildrop equal the entries they count;
// every entry has a body; a body that no entry needs is in doomed or transfer.
// Check recounts all of it.
package sqlite
