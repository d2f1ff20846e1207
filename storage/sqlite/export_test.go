package sqlite

// SkipFolders makes sure that no folder has the id of its mailbox: who takes one for the
// other is found out.
func (s *Store) SkipFolders() error {
	return s.writer.change(background, func(c *conn, _ func(error)) error {
		return c.script("INSERT INTO sqlite_sequence (name, seq) SELECT 'folder', 1000 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'folder')")
	})
}

// GiveUpWriting makes the store read-only, as three failures of the disk in a minute do.
func (s *Store) GiveUpWriting() { s.writer.readOnly.Store(true) }

// Damage runs a statement behind the store's back.
func (s *Store) Damage(statement string) error {
	return s.writer.change(background, func(c *conn, _ func(error)) error { return c.script(statement) })
}
