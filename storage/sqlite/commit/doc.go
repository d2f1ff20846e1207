// Package commit is the engine that commits: one goroutine owns the one connection that
// writes, joins the changes that wait into one transaction, and answers each after the
// commit. It brings the write-ahead log into the database, watches the disk, and says
// how well the store is. It knows no table: what a change does to rows, what is cached
// of them and what work they leave for a rest are its callers'.
package commit
