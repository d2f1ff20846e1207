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

// Rebuild lays the database at path, of the data directory dir, that has damaged pages out anew: each row that can still be
// read goes into a new file, which takes the place of the old one; that is kept
// beside it, its name ending in .damaged. Addresses that only their index still
// has are made again, without their settings. Content that stands in no maildrop
// any more is written into a folder whose name ends in .lost. Each loss is reported.
// A database whose pages are sound is left as it is, and said to be so.
//
// What disagrees then is mended before the new file takes its place, as Check mends
// it; an older schema is upgraded. Rebuild needs the store to itself
// (storage.ErrLocked, storage.ErrOccupied) and, for a while, as much space again as the database takes. A database
// that Open refuses is refused: storage.ErrNewer.
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
	// SQLite's locks on a file end when any descriptor of the process is closed, so
	// this one is closed last.
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

// isUnreadable reports whether the disk did not give what was to be read (EIO). A
// statement under way makes ErrCorrupt of it, opening a database does not.
func isUnreadable(err error) bool {
	var e sqlite3.Error
	return errors.As(err, &e) && e.ExtendedCode == sqlite3.ErrIoErr.Extend(33) // SQLITE_IOERR_CORRUPTFS
}

// clearKilled removes what a rebuild left that was killed. Where it was already about to
// exchange the files, the damaged database has both names.
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

// open opens the old database. Nothing is written before it is known to be ours.
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

// ours refuses what Open refuses, and any newer schema.
func (r *rebuild) ours() error {
	o, err := tables.OriginOf(r.from, tables.Current.Newest())
	if err == nil && o.Schema > tables.Current.Newest() { // whose rows nobody here knows
		err = tables.NewerError(o.Schema, tables.Current.Newest())
	}
	return err
}

// sound reports whether SQLite finds nothing wrong with its pages.
func (r *rebuild) sound() (bool, error) {
	sound := true
	err := integrityCheck(r.ctx, r.from, func(string) { sound = false })
	return sound && err == nil, err
}

// fill makes the new file. Nobody may write into the old one until it is exchanged.
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

// mend makes a store of the new file that agrees with itself, before a server can
// see it: a lost maildrop would be a mailbox that is not there, and a lost body's id,
// given again, would put one's mail into another's maildrop.
func (r *rebuild) mend(part string) error {
	c, err := db.OpenWriter(part, db.MaxLogPages)
	if err != nil {
		return err
	}
	alone := Access{
		Read:  func(_ context.Context, f func(*db.Conn) error) error { return c.Transaction("BEGIN", f) },
		Write: func(_ context.Context, f func(*db.Conn) error) error { return c.Transaction("BEGIN IMMEDIATE", f) },
	}
	// Nobody else has the file, and so no server of an older version.
	_, err = tables.Current.Migrate(c, func(int64) error { return nil })
	if err == nil {
		err = Mend(r.ctx, alone, r.report)
	}
	if err := errors.Join(err, c.Close()); err != nil {
		return err
	}
	if logged(part) { // closing does not say so
		return fmt.Errorf("%s-wal could not be brought into the new database", part)
	}
	return db.SyncPath(part)
}

// begin keeps others from writing. Inner pages are read past SQLite, so what stands
// in the log is brought into the database first.
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

// emptyLog brings the log into the database; who reads in it is in the way.
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

// logged reports whether a database has something in its log.
func logged(path string) bool {
	log, err := os.Stat(path + "-wal")
	return err == nil && log.Size() > 0
}

// exchange puts the new file in the place of the old one, at no moment of which
// there is none.
func (r *rebuild) exchange(part string) error {
	// What stands in the log is in the new file; the next log must not meet it.
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
	// What is beside the new database must be there when that is.
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
