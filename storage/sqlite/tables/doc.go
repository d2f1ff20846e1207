// Package tables has the schema of the store and what several rooms do with its rows:
// finding a folder, counting, compacting arrivals, the one way out of a folder, and what
// becomes of bodies that nobody needs. Its functions work in a transaction of their
// caller's; none begins or ends one.
package tables
