package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"mailsrv/storage"
	"mailsrv/storage/sqlite/backup"
	"mailsrv/storage/sqlite/db"
	"mailsrv/storage/sqlite/repair"
	"mailsrv/storage/sqlite/tables"
)

// Check implements storage.Checker. With mend the store must have been opened with
// Exclusive. Without it a server may be running meanwhile. [storage.ErrNewer] if the schema
// is newer than this program's: only a program that knows all of a schema can check it.
func (s *Store) Check(ctx context.Context, mend bool, report func(storage.Finding)) (remaining int, err error) {
	if s.schema > tables.Current.Newest() {
		return 0, tables.NewerError(s.schema, tables.Current.Newest())
	}
	access := repair.Access{Read: s.readers.Snapshot, Write: s.change}
	if mend {
		if !s.options.Exclusive {
			return 0, errors.New("a repair needs the store to itself")
		}
		if err := repair.Mend(ctx, access, report); err != nil {
			return 0, err
		}
	}
	return repair.Check(ctx, access, s.options.Sound, report)
}

// change is as edit, for changes that are never refused.
func (s *Store) change(ctx context.Context, f func(*db.Conn) error) error {
	return s.edit(ctx, func(c *db.Conn, _ func(error)) error { return f(c) })
}

// Rebuild is as [repair.Rebuild], for the database of a data directory.
func Rebuild(ctx context.Context, dir string, o Options, report func(storage.Finding)) (sound bool, err error) {
	path, err := o.path(dir)
	if err != nil {
		return false, err
	}
	switch f, err := tables.OpenFile(path); {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	default:
		f.Close()
	}
	return repair.Rebuild(ctx, dir, path, report)
}

// Secure sets the mode 0600 on the database at path, and on the files that SQLite keeps
// beside it, where everybody has any permission on them. It returns the paths of those
// files. If there is no database it does nothing. It does not touch a file that is no store
// of ours. Errors: as [tables.OpenFile].
func Secure(path string) (exposed []string, err error) {
	f, err := tables.OpenFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	close := func(f *os.File) error {
		info, err := f.Stat()
		if err != nil || info.Mode().Perm()&0o007 == 0 {
			return err
		}
		exposed = append(exposed, f.Name())
		return f.Chmod(0o600)
	}
	if err := close(f); err != nil {
		return nil, err
	}
	for _, beside := range db.FilesOf(path)[:2] {
		f, err := os.OpenFile(beside, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if err != nil {
			continue // it is not there, or SQLite will tell
		}
		err = close(f)
		f.Close()
		if err != nil {
			return nil, err
		}
	}
	return exposed, nil
}

// Backup writes a copy of the whole store into a new file, as it is at one moment: what is
// delivered during the backup is not in it. A server may be running, and nothing waits for
// the backup. It calls progress with the octets that were copied and their total. Errors:
// [fs.ErrExist] if the file exists, [storage.ErrBackup] if another backup is writing it, the
// context's, or an unexpected one.
func (s *Store) Backup(ctx context.Context, file string, progress func(done, total int64)) error {
	source, err := db.Open(s.path, db.ReaderCacheKiB)
	if err != nil {
		return err
	}
	defer source.Close()
	return backup.Write(ctx, source, file, progress)
}

// Restore restores a backup into an empty data directory. Before that it recounts all of the
// backup; if there are findings it reports them and refuses the backup. It calls progress
// with the octets that were copied and their total. The caller closes file. After an error
// the directory is as it was. Errors: [storage.ErrLocked], [storage.ErrOccupied],
// [storage.ErrNotEmpty], [storage.ErrNewer], the context's, or an unexpected one.
func Restore(ctx context.Context, dir string, o Options, file *os.File, progress func(done, total int64), report func(storage.Finding)) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	path, err := o.path(dir)
	if err != nil {
		return err
	}
	return backup.Restore(ctx, dir, path, file, progress, func(copied string) error { return verify(ctx, copied, report) })
}

// verify opens the copy at path as a store, which upgrades an older schema, and recounts it.
// Afterwards the copy is one file, without a log.
func verify(ctx context.Context, path string, report func(storage.Finding)) error {
	s, err := Open(ctx, filepath.Dir(path), Options{Path: path, held: true})
	if err != nil {
		return err
	}
	findings, err := s.Check(ctx, false, report)
	if err == nil && findings == 0 {
		// Mail that came after the backup is lost, and its uids will be given again.
		err = s.change(ctx, func(c *db.Conn) error { return tables.RenewValidity(c, "true") })
	}
	if closed := s.Close(); err == nil {
		err = closed
	}
	if err == nil && findings > 0 {
		err = fmt.Errorf("the backup does not agree with itself (%d findings): use another one", findings)
	}
	return err
}

// Version returns SQLite's version.
func Version() string { return db.Version() }
