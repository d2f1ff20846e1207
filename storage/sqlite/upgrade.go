package sqlite

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"mailsrv/internal/logs"
)

// smallStore is the size up to which an upgrade makes its own backup.
const smallStore = 1 << 30

// errOlder says that the schema is older and stays so.
var errOlder = errors.New("the schema is an older one")

// beforeUpgrade returns what is done before an older schema is changed: a server
// of the older version must not be running, a small store is copied beside itself, a
// large one is the administrator's to copy.
func (s *Store) beforeUpgrade(c *conn) func(version int64) error {
	return func(version int64) error {
		if s.options.AsItIs {
			return errOlder
		}
		if !s.options.held {
			held, err := lockStore(s.dir, s.path)
			if err != nil {
				return fmt.Errorf("the store has schema %d and must be upgraded, which waits until its server is stopped: %w", version, err)
			}
			s.locks = append(s.locks, held...) // until it is closed: no older server begins meanwhile
			s.options.held = true
		}
		if s.options.NoBackup {
			s.logger.Warn(logs.Storage, logs.Reason, "the store is upgraded without a backup from before")
			return nil
		}
		octets, err := c.number("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
		if err != nil {
			return err
		}
		if octets >= smallStore {
			return fmt.Errorf("the store has schema %d and must be upgraded: make a backup with mailsrv backup FILE, then start the server once with mailsrv serve --no-backup", version)
		}
		file, err := s.keep(fmt.Sprintf("%s.schema-%d", s.path, version))
		if err != nil {
			return fmt.Errorf("backup before the upgrade from schema %d: %w", version, err)
		}
		s.logger.Warn(logs.Storage, logs.Reason, "the store is upgraded; a backup from before is kept", logs.File, file)
		return nil
	}
}

// keep makes a backup beside the store and returns its name: name, or with a number
// behind it where that is taken by another state of the store. Of one state there is
// one backup, however often an upgrade fails.
func (s *Store) keep(name string) (file string, err error) {
	fresh := name + ".new"
	if err := removeDatabase(fresh); err != nil { // of a try that ended in the middle
		return "", err
	}
	if err := s.Backup(context.Background(), fresh, func(int64, int64) {}); err != nil {
		return "", err
	}
	file = name
	for n := 2; ; n++ {
		if err := install(fresh, file); !errors.Is(err, fs.ErrExist) {
			return file, err
		}
		if same, err := sameContent(fresh, file); same || err != nil {
			return file, errors.Join(err, os.Remove(fresh))
		}
		file = fmt.Sprintf("%s.%d", name, n)
	}
}

func sameContent(one, other string) (bool, error) {
	a, err := digest(one)
	if err != nil {
		return false, err
	}
	b, err := digest(other)
	return a == b, err
}

func digest(path string) (sum [sha256.Size]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return [sha256.Size]byte(h.Sum(nil)), err
}
