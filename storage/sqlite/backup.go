package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/mattn/go-sqlite3"
	"golang.org/x/sys/unix"

	"mailsrv/storage"
)

// backupStep is how many pages are copied between two reports of progress.
const backupStep = 256

// Backup writes a copy of the whole store into a new file, as it stands at one
// moment: what is delivered meanwhile is not in it. A server may be at work;
// nothing waits for the backup. progress hears how many octets of how many have
// been copied. An existing file is not overwritten: fs.ErrExist. storage.ErrBackup if
// another one is on its way there.
func (s *Store) Backup(ctx context.Context, file string, progress func(done, total int64)) error {
	source, err := openConn(s.path, readerCacheKiB)
	if err != nil {
		return err
	}
	defer source.Close()
	return backup(ctx, source, file, progress)
}

// backup copies a database inside one read transaction, so that it ends
// however much is written meanwhile.
func backup(ctx context.Context, source *conn, file string, progress func(done, total int64)) (err error) {
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
			removeDatabase(part.Name())
		}
	}()
	if err := source.script("BEGIN"); err != nil {
		return err
	}
	defer source.script("ROLLBACK")
	size, err := source.number("SELECT page_size FROM pragma_page_size, (SELECT count(*) FROM sqlite_schema)")
	if err != nil {
		return err
	}
	if err := copyPages(ctx, source, part.Name(), func(done, total int64) { progress(done*size, total*size) }); err != nil {
		return fmt.Errorf("copy to %s: %w", part.Name(), err)
	}
	if err := part.Sync(); err != nil {
		return err
	}
	return install(part.Name(), file)
}

func copyPages(ctx context.Context, source *conn, file string, progress func(done, total int64)) error {
	opened, err := (&sqlite3.SQLiteDriver{}).Open(databaseURI(file))
	if err != nil {
		return err
	}
	target := opened.(*sqlite3.SQLiteConn)
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
			time.Sleep(10 * time.Millisecond) // the source is busy for a moment
		}
	}
	if err := copying.Close(); err != nil {
		return err
	}
	// One file that is whole by itself.
	_, err = target.Exec("PRAGMA journal_mode = DELETE", nil)
	return err
}

// Restore puts a backup into an empty data directory, after recounting all of
// it; findings are reported and refuse it. Errors: storage.ErrLocked,
// ErrOccupied, ErrNotEmpty, ErrNewer. After an error the directory is as it was. The caller
// closes the file.
func Restore(ctx context.Context, dir string, o Options, file *os.File, progress func(done, total int64), report func(finding string)) (err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	path, err := o.path(dir)
	if err != nil {
		return err
	}
	held, err := lockStore(dir, path)
	if err != nil {
		return err
	}
	defer func() { held.release() }()
	// Any command would begin a new store where there is none.
	alone, err := lockDatabase(path, unix.LOCK_EX)
	if err != nil {
		return err
	}
	held = append(held, alone)
	// A log that is left of another database would be applied to this one.
	for _, name := range filesOf(path) {
		if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: %w", name, errors.Join(storage.ErrNotEmpty, err))
		}
	}
	part := path + ".restore"
	if err := removeDatabase(part); err != nil { // of a restore that was killed
		return err
	}
	defer func() {
		if err != nil {
			removeDatabase(part)
		}
	}()
	if err := copyFile(ctx, file, part, progress); err != nil {
		return err
	}
	if err := verify(ctx, part, report); err != nil {
		return fmt.Errorf("%s: %w", file.Name(), err)
	}
	if err := syncPath(part); err != nil {
		return err
	}
	err = install(part, path)
	if errors.Is(err, fs.ErrExist) {
		err = fmt.Errorf("%s: %w", path, storage.ErrNotEmpty)
	}
	return err
}

// verify opens a copy as a store, which upgrades it where it is older, and
// recounts it. Then it is one file.
func verify(ctx context.Context, path string, report func(string)) error {
	if err := isOurs(path); err != nil {
		return err
	}
	s, err := Open(ctx, filepath.Dir(path), Options{Path: path, held: true})
	if err != nil {
		return err
	}
	remaining, err := s.Check(ctx, false, report)
	if err == nil && remaining == 0 {
		// What came after the backup is lost, and its uids are given again.
		err = s.writer.change(ctx, func(c *conn, _ func(error)) error { return renewValidity(c, "true") })
	}
	if closed := s.Close(); err == nil {
		err = closed
	}
	if err == nil && remaining > 0 {
		err = fmt.Errorf("the backup does not agree with itself (%d findings): use another one", remaining)
	}
	if err == nil {
		if _, left := os.Lstat(path + "-wal"); left == nil { // it would be lost with its name
			err = errors.New("the copy does not become one file: free some of the disk, and let no other program open it")
		}
	}
	return err
}

// isOurs refuses a file that is no store of ours before anything is made of it.
func isOurs(path string) error {
	c, err := openConn(path, readerCacheKiB)
	var o origin
	if err == nil {
		defer c.Close()
		o, err = originOf(c, current.newest())
	}
	if err == nil && o.empty || errors.Is(err, storage.ErrForeign) || is(err, sqlite3.ErrNotADB) {
		return errors.New("this is no backup of mailsrv")
	}
	return err
}

// copyFile copies to a new private file.
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
		n, err := io.CopyN(out, in, backupStep*pageSize)
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
