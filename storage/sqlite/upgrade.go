package sqlite

import (
	"errors"
	"fmt"

	"mailsrv/storage/sqlite/db"
)

// errOlder says that the schema is older and is not upgraded.
var errOlder = errors.New("the schema is an older one")

// beforeUpgrade makes sure that no server of an older version is running, and that none
// starts before the store is closed.
func (s *Store) beforeUpgrade(schema int64) error {
	if s.options.AsItIs {
		return errOlder
	}
	if s.options.held {
		return nil
	}
	held, err := db.LockStore(s.dir, s.path)
	if err != nil {
		return fmt.Errorf("the store has schema %d and must be upgraded, which waits until its server is stopped: %w", schema, err)
	}
	s.locks = append(s.locks, held...)
	s.options.held = true
	return nil
}
