// Package memory keeps the directory and the maildrops in memory, for tests and
// trials: nothing survives the process.
//
// It is as plain as it can be, one mutex over maps and slices, and promises what
// package storage promises, but for durability. A test makes it fail by Options.Fault,
// which hears of each call first. Close tells of what its users forgot to give back.
//
// What always holds: a folder's counters equal its entries, and a mailbox's usage the
// sum of its folders; a uid is never given twice; each commit that adds or removes
// counts the folder's modseq. Check recounts all of it.
package memory
