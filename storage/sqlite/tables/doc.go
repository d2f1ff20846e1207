// Package tables has the schema of the store, and the work on its rows that several
// packages share: finding folders, counting, compacting arrivals, removing entries, keeping
// deleted mail aside, and freeing bodies that nobody needs. Its functions work in their
// caller's transaction and neither begin nor end one, but for [Edition.Migrate] and
// [BreakOffAll].
package tables
