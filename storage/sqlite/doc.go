// Package sqlite keeps the directory and the maildrops in one SQLite database.
//
// Reads go through a pool of connections. Every change goes through one commit engine,
// which joins waiting changes into one transaction and answers after the commit.
// DESIGN.md beside this file says why the tables and the settings are as they are.
//
// This package implements the interfaces of package storage. Its parts are db
// (connections), commit (the engine, which knows no table), tables (the schema, and work
// on its rows that several parts share), repair and backup.
//
// These always hold:
//
//   - The counters in tally equal the entries that they count, and the totals of an INBOX
//     equal the sums of its mailbox's folders.
//   - A uid is never given twice under one validity.
//   - Each commit that adds messages to a folder or removes some raises its modseq.
//   - Every entry has a body. A body that no row needs is in garbage or transfer.
//
// [Store.Check] recounts all of them.
package sqlite
