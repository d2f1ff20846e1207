// Package sqlite keeps the directory and the maildrops in one SQLite database.
//
// Reading goes through a pool of connections; every change goes through one commit
// engine, which joins what waits into one transaction and answers after the commit.
// DESIGN.md beside this file says why the tables and the settings are as they are.
//
// This package implements the contract. Below it stand db (connections), commit (the
// engine, which knows no table), tables (the schema, and what several rooms do with its
// rows), repair and backup.
//
// What always holds: the counters in tally equal the entries they count, and those of
// an INBOX the sums of its mailbox's folders; a uid is never given twice under one
// validity; each commit that adds or removes counts the folder's modseq; every entry has
// a body; a body that no row needs is in garbage or transfer. Check recounts all of it.
package sqlite
