package repair

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/mattn/go-sqlite3"
	"golang.org/x/sys/unix"

	"mailsrv/storage"
	"mailsrv/storage/sqlite/db"
	"mailsrv/storage/sqlite/tables"
)

// Rebuild replaces the damaged database at path, which belongs to the data directory dir. It
// copies each row that can still be read into a new file, and puts that in the place of the
// old one. The old file is kept beside it under a name ending in .damaged. Addresses of
// which only the index has been kept are added again, without their settings. Content that
// is in no maildrop any more is written into a directory with a name ending in .lost. Each
// loss is reported. If the pages are sound, Rebuild changes nothing and returns true.
//
// The new database is upgraded if its schema is older, and mended as by [Mend], before it
// takes the old one's place. Nobody else may use the store meanwhile, and the disk needs
// room for a second copy of the database. Errors: [storage.ErrLocked],
// [storage.ErrOccupied], [storage.ErrKept] if the result of an earlier rebuild is still
// there, [storage.ErrNewer] and others with which opening the store refuses a database, or
// an unexpected one.
func Rebuild(ctx context.Context, dir, path string, report func(storage.Finding)) (sound bool, err error) {
	locks, err := db.LockStore(dir, path)
	if err != nil {
		return false, err
	}
	defer func() { locks.Release() }()
	alone, err := db.LockDatabase(path, unix.LOCK_EX)
	if err != nil {
		return false, err
	}
	locks = append(locks, alone)
	r := rebuild{ctx: ctx, path: path, report: report}
	// Closing any descriptor of the file ends SQLite's locks on it, so this one is closed
	// last.
	if r.pages, err = os.Open(path); err != nil {
		return false, err
	}
	defer r.pages.Close()
	if err := r.open(); err != nil {
		if db.IsDamage(err) || db.Is(err, sqlite3.ErrNotADB) || isUnreadable(err) {
			err = fmt.Errorf("%w: %w", err, storage.ErrLost)
		}
		return false, fmt.Errorf("open %s: %w", path, err)
	}
	defer r.from.Close()
	if err := r.clearKilled(); err != nil {
		return false, err
	}
	if sound, err = r.sound(); sound || err != nil {
		return sound, err
	}
	return false, r.layOut()
}

// layOut puts a new database in the place of the old one.
func (r *rebuild) layOut() (err error) {
	for _, kept := range []string{r.damaged(), r.lost()} {
		if _, err := os.Lstat(kept); err == nil {
			return fmt.Errorf("%s %w", kept, storage.ErrKept)
		}
	}
	part := r.path + ".new"
	if err := db.Remove(part); err != nil {
		return err
	}
	if err = r.fill(part); err == nil {
		err = r.mend(part)
	}
	if err == nil {
		err = r.exchange(part)
	}
	if err != nil {
		db.Remove(part)
		os.RemoveAll(r.lostPart())
		return fmt.Errorf("lay out %s anew: %w", r.path, err)
	}
	r.loss("the database was laid out anew: what it was before is in "+r.damaged(), storage.NoRemedy)
	if err := db.SyncPath(filepath.Dir(r.path)); err != nil {
		return fmt.Errorf("sync the folder of the new database: %w", err)
	}
	return nil
}

// isUnreadable reports whether the disk failed to read (EIO). While a statement runs SQLite
// returns ErrCorrupt for that, but not while it opens a database.
func isUnreadable(err error) bool {
	var e sqlite3.Error
	return errors.As(err, &e) && e.ExtendedCode == sqlite3.ErrIoErr.Extend(33) // SQLITE_IOERR_CORRUPTFS
}

// clearKilled removes what a killed rebuild has left. If that was about to exchange the
// files, the damaged database has both names.
func (r *rebuild) clearKilled() error {
	one, err := os.Stat(r.path)
	if err != nil {
		return err
	}
	if other, err := os.Lstat(r.damaged()); err == nil && os.SameFile(one, other) {
		if err := errors.Join(os.RemoveAll(r.lost()), os.Remove(r.damaged())); err != nil {
			return err
		}
	}
	return os.RemoveAll(r.lostPart())
}

// open opens the old database. It writes nothing before it knows that the file is ours.
func (r *rebuild) open() error {
	var err error
	if r.from, err = db.OpenPlain(r.path); err != nil {
		return err
	}
	if err = r.ours(); err == nil {
		err = r.from.Apply(db.WriterCacheKiB)
	}
	if err != nil {
		r.from.Close()
	}
	return err
}

// ours returns the error with which opening the store would refuse the database, and
// storage.ErrNewer for any newer schema.
func (r *rebuild) ours() error {
	o, err := tables.OriginOf(r.from, tables.Current.Newest())
	if err == nil && o.Schema > tables.Current.Newest() { // this program does not know its rows
		err = tables.NewerError(o.Schema, tables.Current.Newest())
	}
	return err
}

// sound reports whether SQLite finds no error in the old database.
func (r *rebuild) sound() (bool, error) {
	sound := true
	err := integrityCheck(r.ctx, r.from, func(string) { sound = false })
	return sound && err == nil, err
}

// fill makes the new file. Nobody may write into the old one until the exchange.
func (r *rebuild) fill(part string) error {
	f, err := os.OpenFile(part, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if r.to, err = db.OpenPlain(part); err != nil {
		return err
	}
	if err = r.begin(); err == nil {
		err = errors.Join(r.copyAll(), r.from.Script("ROLLBACK"))
	}
	if closed := r.to.Close(); err == nil {
		err = closed
	}
	return err
}

// mend mends the new file before a server can see it. Otherwise a mailbox whose maildrop is
// lost would not exist for the server, and if the id of a lost body were given again, one
// owner's mail would be in another's maildrop.
func (r *rebuild) mend(part string) error {
	c, err := db.OpenWriter(part, db.MaxLogPages)
	if err != nil {
		return err
	}
	alone := Access{
		Read:  func(_ context.Context, f func(*db.Conn) error) error { return c.Transaction("BEGIN", f) },
		Write: func(_ context.Context, f func(*db.Conn) error) error { return c.Transaction("BEGIN IMMEDIATE", f) },
	}
	// Nobody else has this file open, so no server of an older version has.
	_, err = tables.Current.Migrate(c, func(int64) error { return nil })
	if err == nil {
		err = Mend(r.ctx, alone, r.report)
	}
	if err := errors.Join(err, c.Close()); err != nil {
		return err
	}
	if logged(part) { // Close does not report that
		return fmt.Errorf("%s-wal could not be brought into the new database", part)
	}
	return db.SyncPath(part)
}

// begin empties the log and takes the write lock. The log must be empty because inner pages
// are read from the database file directly, without SQLite.
func (r *rebuild) begin() (err error) {
	if err = r.emptyLog(); err != nil {
		return err
	}
	if err = r.from.Script("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	if logged(r.path) {
		return storage.ErrUsed
	}
	r.version, err = r.from.Number("PRAGMA data_version")
	return err
}

// emptyLog copies the log into the database and truncates it. It fails while anybody reads
// from the log.
func (r *rebuild) emptyLog() error {
	row, err := r.from.First("PRAGMA wal_checkpoint(TRUNCATE)")
	if err != nil {
		return err
	}
	if busy, _ := row[0].(int64); busy != 0 {
		return storage.ErrUsed
	}
	return nil
}

// logged reports whether the log of a database is not empty.
func logged(path string) bool {
	log, err := os.Stat(path + "-wal")
	return err == nil && log.Size() > 0
}

// exchange puts the new file in the place of the old one. At every moment one of them is
// there.
func (r *rebuild) exchange(part string) error {
	// The content of the log is in the new file. The log must not be applied to that.
	if err := r.emptyLog(); err != nil {
		return err
	}
	if version, err := r.from.Number("PRAGMA data_version"); err != nil || version != r.version {
		return errors.Join(err, storage.ErrUsed)
	}
	if err := r.from.Close(); err != nil {
		return err
	}
	if logged(r.path) {
		return storage.ErrUsed
	}
	if err := os.Link(r.path, r.damaged()); err != nil {
		return err
	}
	err := os.Rename(r.lostPart(), r.lost())
	if errors.Is(err, fs.ErrNotExist) { // nothing was saved
		err = nil
	}
	// The files beside the new database must be on the disk before it.
	if err == nil {
		err = db.SyncPath(filepath.Dir(r.path))
	}
	if err == nil {
		err = os.Rename(part, r.path)
	}
	if err != nil {
		return errors.Join(err, r.clearKilled())
	}
	return nil
}
