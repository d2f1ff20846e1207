// Package commit is the engine that commits. One goroutine owns the only connection that
// writes. It joins the waiting changes into one transaction and answers each of them after
// the commit. The package also checkpoints the write-ahead log, watches the free space of
// the disk, and reports the condition of the store. It knows no table: its callers say
// what a change does to rows, what is cached of them, and what upkeep they need.
package commit
