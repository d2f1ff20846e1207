// Package memory keeps the directory and the maildrops in memory, for tests and
// trials. Nothing survives the process.
//
// It is one mutex over maps and slices, and keeps the contract of package storage but
// for durability. A test makes calls fail with a [Fault], which is called before each of
// them. [Store.Close] fails if a body was not discarded or a message not closed.
//
// What always holds: a folder's counters equal its entries, and a mailbox's usage is the
// sum of its folders. A uid is never given twice. Each commit that adds or removes
// messages raises the folder's modseq. [Store.Check] recounts all of it.
package memory
