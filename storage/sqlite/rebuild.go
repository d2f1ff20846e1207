package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/mattn/go-sqlite3"
	"golang.org/x/sys/unix"
)

// Rebuild lays a database with damaged pages out anew: each row that can still be
// read goes into a new file, which takes the place of the old one; that is kept
// beside it, its name ending in .damaged. Addresses that only their index still
// has are made again, without their settings. Content whose entry is lost is
// written into a folder whose name ends in .lost, since nobody knows whose it is.
// Each loss is reported. A database whose pages are sound is left as it is.
//
// It leaves counters and references to Check's repair. It needs the store to
// itself (ErrLocked, ErrInUse), a schema that it knows (ErrNewer) and, for a while,
// as much space again as the database takes.
func Rebuild(ctx context.Context, dir string, o Options, report func(loss string)) error {
	path, err := o.path(dir)
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	locks, err := lockStore(dir, path)
	if err != nil {
		return err
	}
	defer func() { locks.release() }()
	alone, err := lockDatabase(path, unix.LOCK_EX)
	if err != nil {
		return err
	}
	locks = append(locks, alone)
	r := rebuild{ctx: ctx, path: path, report: report}
	if r.from, err = openConn(path, writerCacheKiB); err != nil {
		return err
	}
	defer r.from.Close()
	version, err := r.from.number("PRAGMA user_version")
	if newest := int64(len(migrations) + 1); err == nil && version > newest {
		err = newerError(version, newest)
	}
	if err != nil {
		return err
	}
	if sound, err := r.sound(); sound || err != nil {
		return err
	}
	for _, kept := range []string{r.damaged(), r.lost()} {
		if _, err := os.Lstat(kept); err == nil {
			return fmt.Errorf("%s is there from an earlier repair: %w: move it elsewhere first", kept, fs.ErrExist)
		}
	}
	part := path + ".new"
	if err := os.Remove(part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err = r.fill(part)
	if err == nil {
		err = r.exchange(part)
	}
	if err != nil {
		os.Remove(part)
		os.RemoveAll(r.lost())
		return fmt.Errorf("lay out %s anew: %w", path, err)
	}
	r.report("the database was laid out anew: what it was before is in " + r.damaged())
	return nil
}

// rebuild copies one database into another.
type rebuild struct {
	ctx      context.Context
	path     string
	from, to *conn
	version  int64 // of from, when the copy began
	report   func(loss string)
}

func (r *rebuild) damaged() string { return r.path + ".damaged" }
func (r *rebuild) lost() string    { return r.path + ".lost" }

// sound reports whether SQLite finds nothing wrong with its pages.
func (r *rebuild) sound() (bool, error) {
	sound := true
	err := integrityCheck(r.from, func(string) { sound = false })
	return sound, err
}

// errUsed says that a program which knows nothing of our locks uses the database.
var errUsed = errors.New("another program has the database open: end it first")

// fill makes the new file. Nobody may write into the old one until it is exchanged.
func (r *rebuild) fill(part string) error {
	f, err := os.OpenFile(part, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	opened, err := (&sqlite3.SQLiteDriver{}).Open(databaseURI(part))
	if err != nil {
		return err
	}
	r.to = newConn(opened)
	if err = r.from.script("BEGIN IMMEDIATE"); err == nil {
		if r.version, err = r.from.number("PRAGMA data_version"); err == nil {
			err = r.copyAll()
		}
		err = errors.Join(err, r.from.script("ROLLBACK"))
	}
	if closed := r.to.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return f.Sync()
}

// exchange puts the new file in the place of the old one, at no moment of which
// there is none.
func (r *rebuild) exchange(part string) error {
	// What stands in the log is in the new file; the next log must not meet it.
	row, err := r.from.first("PRAGMA wal_checkpoint(TRUNCATE)")
	if err != nil {
		return err
	}
	if busy, _ := row[0].(int64); busy != 0 {
		return errUsed
	}
	if version, err := r.from.number("PRAGMA data_version"); err != nil || version != r.version {
		return errors.Join(err, errUsed)
	}
	if err := r.from.Close(); err != nil {
		return err
	}
	if log, err := os.Stat(r.path + "-wal"); err == nil && log.Size() > 0 {
		return errUsed
	}
	if err := os.Link(r.path, r.damaged()); err != nil {
		return err
	}
	if err := os.Rename(part, r.path); err != nil {
		return errors.Join(err, os.Remove(r.damaged()))
	}
	return syncPath(filepath.Dir(r.path))
}

// copyAll copies the schema, then each table.
func (r *rebuild) copyAll() error {
	size, err := r.from.number("PRAGMA page_size")
	if err != nil {
		return err
	}
	version, err := r.from.number("PRAGMA user_version")
	if err != nil {
		return err
	}
	// The file is of no use until it is whole: it needs no journal.
	err = r.to.script(fmt.Sprintf("PRAGMA page_size = %d; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN; PRAGMA application_id = %d; PRAGMA user_version = %d",
		size, applicationID, version))
	if err != nil {
		return err
	}
	var tables, indexes []string
	err = r.from.each("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'", func(row []driver.Value) error {
		if row[0].(string) != "table" {
			indexes = append(indexes, row[2].(string))
			return nil
		}
		tables = append(tables, row[1].(string))
		return r.to.script(row[2].(string))
	})
	if err != nil {
		return err
	}
	lost := map[string]bool{}
	for _, table := range tables {
		if lost[table], err = r.copyTable(table); err != nil {
			return fmt.Errorf("table %s: %w", table, err)
		}
		if lost[table] {
			r.report("the table " + table + " has damaged pages: what stood there is lost")
			if err := r.fromIndex(table); err != nil {
				return fmt.Errorf("table %s: %w", table, err)
			}
		}
	}
	for _, index := range indexes {
		if err := r.to.script(index); err != nil {
			return err
		}
	}
	messages := "message"
	if version == 1 {
		messages = "entry"
	}
	if err := r.copyHighest(messages); err != nil {
		return err
	}
	if lost["mailbox"] {
		if err := r.holdMailboxes(messages); err != nil {
			return err
		}
	}
	if lost["entry"] || lost["arrival"] || lost["removed"] || lost["body"] {
		if err := r.saveOwnerless(messages); err != nil {
			return err
		}
	}
	return r.to.script("COMMIT")
}
