package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/mattn/go-sqlite3"
	"golang.org/x/sys/unix"

	"mailsrv/storage"
	"mailsrv/storage/sqlite/db"
	"mailsrv/storage/sqlite/tables"
)

// Restore copies a backup to path, where there must be no database yet, for the data
// directory dir. Before that it calls verify with the path of the copy, which upgrades and
// recounts that; if verify returns an error the backup is refused. It calls progress with
// the octets that were copied and their total. The caller closes file. After an error
// nothing has changed. Errors: [storage.ErrLocked], [storage.ErrOccupied],
// [storage.ErrNotEmpty], [storage.ErrNewer], those of verify, the context's, or an
// unexpected one.
func Restore(ctx context.Context, dir, path string, file *os.File, progress func(done, total int64), verify func(copied string) error) (err error) {
	// Create nothing beside a file that is no store of ours.
	switch f, err := tables.OpenFile(path); {
	case err == nil:
		f.Close()
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", storage.ErrNotEmpty, err)
	}
	held, err := db.LockStore(dir, path)
	if err != nil {
		return err
	}
	defer func() { held.Release() }()
	// Without this lock any command could create a new store at path meanwhile.
	alone, err := db.LockDatabase(path, unix.LOCK_EX)
	if err != nil {
		return err
	}
	held = append(held, alone)
	if err := nothingAt(path); err != nil {
		return err
	}
	part := path + ".restore"
	if err := db.Remove(part); err != nil { // a killed restore may have left it
		return err
	}
	defer func() {
		if err != nil {
			db.Remove(part)
		}
	}()
	if err := copyFile(ctx, file, part, progress); err != nil {
		return err
	}
	if err = isOurs(part); err == nil {
		err = verify(part)
	}
	if err == nil {
		if _, left := os.Lstat(part + "-wal"); left == nil { // the rename would leave it behind
			err = errors.New("the copy does not become one file: free some of the disk, and let no other program open it")
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", file.Name(), err)
	}
	if err := db.SyncPath(part); err != nil {
		return err
	}
	err = install(part, path)
	if errors.Is(err, fs.ErrExist) {
		err = fmt.Errorf("%s: %w", path, storage.ErrNotEmpty)
	}
	return err
}

// nothingAt returns storage.ErrNotEmpty if any file of a database is at path: the log of
// another database would be applied to the restored one.
func nothingAt(path string) error {
	for _, name := range db.FilesOf(path) {
		if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: %w", name, errors.Join(storage.ErrNotEmpty, err))
		}
	}
	return nil
}

// isOurs returns an error if the file is no store of ours. It is called before anything
// changes the file.
func isOurs(path string) error {
	c, err := db.Open(path, db.ReaderCacheKiB)
	var o tables.Origin
	if err == nil {
		defer c.Close()
		o, err = tables.OriginOf(c, tables.Current.Newest())
	}
	if err == nil && o.Empty || errors.Is(err, storage.ErrForeign) || db.Is(err, sqlite3.ErrNotADB) {
		return errors.New("this is no backup of mailsrv")
	}
	return err
}

// copyFile copies a file to a new one that only its owner can read.
func copyFile(ctx context.Context, in *os.File, to string, progress func(done, total int64)) error {
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	for done := int64(0); ; {
		n, err := io.CopyN(out, in, backupStep*db.PageSize)
		done += n
		if err != nil && err != io.EOF {
			return err
		}
		progress(done, info.Size())
		switch {
		case err == io.EOF:
			return out.Close()
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
}
