package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"mailsrv/storage/sqlite/db"
)

// backupStep is how many pages are copied between two reports of progress.
const backupStep = 256

// Write copies the database of source into a new file. It reads in one transaction, so that
// it comes to an end however much others write meanwhile. It calls progress with the octets
// that were copied and their total. source has no transaction open; the caller closes it.
// After an error there is no new file, unless somebody else has put one there. Errors:
// [fs.ErrExist] if the file exists, [storage.ErrBackup] if another backup is writing the
// same file, the context's, or an unexpected one.
func Write(ctx context.Context, source *db.Conn, file string, progress func(done, total int64)) (err error) {
	if _, err := os.Lstat(file); err == nil {
		return fmt.Errorf("%s: %w", file, fs.ErrExist)
	}
	part, err := claim(file + partial)
	if err != nil {
		return err
	}
	defer part.Close()
	defer func() {
		if err != nil {
			db.Remove(part.Name())
		}
	}()
	if err := source.Script("BEGIN"); err != nil {
		return err
	}
	defer source.Script("ROLLBACK")
	size, err := source.Number("SELECT page_size FROM pragma_page_size, (SELECT count(*) FROM sqlite_schema)")
	if err != nil {
		return err
	}
	if err := copyPages(ctx, source, part, func(done, total int64) { progress(done*size, total*size) }); err != nil {
		return fmt.Errorf("copy to %s: %w", part.Name(), err)
	}
	// The backup must be complete as one file, so its header must say that it has no
	// write-ahead log (the versions for writing and reading,
	// https://www.sqlite.org/fileformat2.html section 1.3.3).
	if _, err := part.WriteAt([]byte{1, 1}, 18); err != nil {
		return err
	}
	if err := part.Sync(); err != nil {
		return err
	}
	if err := install(part.Name(), file); err != nil {
		return err
	}
	return stillNamed(part, file)
}

// errExchanged says that somebody who may write into the directory has replaced the file.
var errExchanged = errors.New("somebody else has put another file in its place: back up into a folder that nobody else can write to")

// stillNamed returns errExchanged unless name is the name of the open file f.
func stillNamed(f *os.File, name string) error {
	opened, err := f.Stat()
	if err != nil {
		return err
	}
	if there, err := os.Lstat(name); err != nil || !os.SameFile(opened, there) {
		return fmt.Errorf("%s: %w", name, errExchanged)
	}
	return nil
}

// beforeOpen is called before SQLite opens a file by its name. Tests replace the file in it.
var beforeOpen = func(name string) {}

// openPart opens our empty file part with SQLite. SQLite opens files only by name, so
// openPart verifies that SQLite has opened this very file: SQLite's lock must be on it. No
// other file is created or opened beside it.
func openPart(part *os.File) (*db.Conn, error) {
	beforeOpen(part.Name())
	target, err := db.OpenPlain(part.Name())
	if err != nil {
		return nil, err
	}
	err = target.Transaction("BEGIN", func(c *db.Conn) error {
		if _, err := c.Number("SELECT count(*) FROM sqlite_schema"); err != nil { // this locks the file
			return err
		}
		lock := unix.Flock_t{Type: unix.F_WRLCK, Start: 1<<30 + 2, Len: 510} // SHARED_FIRST and SHARED_SIZE in SQLite's source
		if err := unix.FcntlFlock(part.Fd(), unix.F_OFD_GETLK, &lock); err != nil {
			return err
		}
		if lock.Type == unix.F_UNLCK {
			return errExchanged
		}
		return nil
	})
	if err == nil {
		err = target.Script("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")
	}
	if err != nil {
		target.Close()
		return nil, err
	}
	return target, nil
}

// copyPages copies all pages of source into part, and calls progress with the pages that
// were copied and their total.
func copyPages(ctx context.Context, source *db.Conn, part *os.File, progress func(done, total int64)) error {
	target, err := openPart(part)
	if err != nil {
		return err
	}
	defer target.Close()
	copying, err := target.Backup("main", source.SQLiteConn, "main")
	if err != nil {
		return err
	}
	for done := false; !done; {
		before := copying.Remaining()
		if done, err = copying.Step(backupStep); err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return errors.Join(err, copying.Close())
		}
		progress(int64(copying.PageCount()-copying.Remaining()), int64(copying.PageCount()))
		if !done && before == copying.Remaining() {
			time.Sleep(10 * time.Millisecond) // the source is busy
		}
	}
	return copying.Close()
}
