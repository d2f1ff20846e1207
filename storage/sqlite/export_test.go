package sqlite

import (
	"context"
	"errors"

	"mailsrv/storage/sqlite/db"
	"mailsrv/storage/sqlite/tables"
)

// SkipFolders makes sure that no folder has the id of its mailbox: who takes one for the
// other is found out.
func (s *Store) SkipFolders() error {
	return s.edit(background, func(c *db.Conn, _ func(error)) error {
		return c.Script("INSERT INTO sqlite_sequence (name, seq) SELECT 'folder', 1000 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'folder')")
	})
}

// GiveUpWriting makes the store read-only, as three failures of the disk in a minute do.
func (s *Store) GiveUpWriting() { s.health.GiveUpWriting(errors.New("a test")) }

// Damage runs a statement behind the store's back.
func (s *Store) Damage(statement string) error {
	return s.edit(background, func(c *db.Conn, _ func(error)) error { return c.Script(statement) })
}

// compactAll moves all arrivals to their maildrops.
func (s *Store) compactAll(ctx context.Context) error {
	return s.change(ctx, func(c *db.Conn) error {
		_, _, err := tables.Compact(c, 0, 1<<20)
		return err
	})
}
