package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"mailsrv/storage/sqlite/db"
)

// backupStep is how many pages are copied between two reports of progress.
const backupStep = 256

// Write copies a database into a new file, inside one read transaction, so that it ends
// however much is written meanwhile. progress hears how many octets of how many have
// been copied. fs.ErrExist if the file is there; storage.ErrBackup if another backup is
// on its way there.
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
	if err := copyPages(ctx, source, part.Name(), func(done, total int64) { progress(done*size, total*size) }); err != nil {
		return fmt.Errorf("copy to %s: %w", part.Name(), err)
	}
	if err := part.Sync(); err != nil {
		return err
	}
	return install(part.Name(), file)
}

func copyPages(ctx context.Context, source *db.Conn, file string, progress func(done, total int64)) error {
	target, err := db.OpenPlain(file)
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
			time.Sleep(10 * time.Millisecond) // the source is busy for a moment
		}
	}
	if err := copying.Close(); err != nil {
		return err
	}
	// One file that is whole by itself.
	return target.Script("PRAGMA journal_mode = DELETE")
}
