package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

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
// itself (ErrLocked, ErrInUse) and, for a while, as much space again as the
// database takes.
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
	if sound, err := r.sound(); sound || err != nil {
		return err
	}
	version, err := r.from.number("PRAGMA user_version")
	if err == nil && version != int64(len(migrations)+1) {
		err = fmt.Errorf("the database is damaged and has schema %d: repair it with the version that wrote it, or restore a backup", version)
	}
	if err != nil {
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
	if err := r.fill(part); err != nil {
		return errors.Join(fmt.Errorf("lay out %s anew: %w", path, err), os.Remove(part))
	}
	return r.exchange(part)
}

// rebuild copies one database into another.
type rebuild struct {
	ctx      context.Context
	path     string
	from, to *conn
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

// fill makes the new file.
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
	err = r.copyAll()
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
	if err := r.from.script("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		return fmt.Errorf("empty the log of %s: %w", r.path, err)
	}
	if err := os.Link(r.path, r.damaged()); err != nil {
		return err
	}
	if err := r.from.Close(); err != nil {
		return err
	}
	if err := os.Rename(part, r.path); err != nil {
		return err
	}
	r.report("the database was laid out anew: what it was before is in " + r.damaged())
	return syncPath(filepath.Dir(r.path))
}

// copyAll copies the schema, then each table.
func (r *rebuild) copyAll() error {
	size, err := r.from.number("PRAGMA page_size")
	if err != nil {
		return err
	}
	// The file is of no use until it is whole: it needs no journal.
	err = r.to.script(fmt.Sprintf("PRAGMA page_size = %d; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN; PRAGMA application_id = %d; PRAGMA user_version = %d",
		size, applicationID, len(migrations)+1))
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
	if err := r.copyHighest(); err != nil {
		return err
	}
	for _, index := range indexes {
		if err := r.to.script(index); err != nil {
			return err
		}
	}
	if lost["entry"] || lost["arrival"] || lost["removed"] {
		if err := r.saveOwnerless(); err != nil {
			return err
		}
	}
	return r.to.script("COMMIT")
}

// copyTable copies the rows that can be read, in the order of their ids, and
// reports whether there may have been others.
func (r *rebuild) copyTable(table string) (lost bool, err error) {
	var columns []string
	err = r.to.each("SELECT name FROM pragma_table_info(?)", func(row []driver.Value) error { // not the generated ones
		columns = append(columns, row[0].(string))
		return nil
	}, table)
	if err != nil {
		return false, err
	}
	list := strings.Join(columns, ", ")
	read := "SELECT rowid, " + list + " FROM " + table + " WHERE rowid >= ? ORDER BY rowid"
	insert := "INSERT INTO " + table + " (" + list + ") VALUES (?" + strings.Repeat(", ?", len(columns)-1) + ")"
	for next := int64(0); ; {
		err := r.from.each(read, func(row []driver.Value) error {
			id, _ := row[0].(int64)
			if id < next { // what a damaged page pretends
				return sqlite3.Error{Code: sqlite3.ErrCorrupt}
			}
			next = id + 1
			_, _, err := r.to.exec(insert, row[1:]...)
			if is(err, sqlite3.ErrConstraint) {
				lost = true
				return r.ctx.Err()
			}
			return errors.Join(err, r.ctx.Err())
		}, next)
		if !is(err, sqlite3.ErrCorrupt) {
			return lost, err
		}
		lost = true
		var more bool
		if next, more, err = r.behind(read+" LIMIT 1", next); err != nil || !more {
			return lost, err
		}
	}
}

// behind finds the first id from which on a table can be read again, where it
// cannot from next on. The ids of a page are one run, and of nothing else.
func (r *rebuild) behind(read string, next int64) (id int64, more bool, err error) {
	readable := func(id int64) (bool, error) {
		err := r.from.each(read, func([]driver.Value) error { return nil }, id)
		if is(err, sqlite3.ErrCorrupt) {
			return false, nil
		}
		return err == nil, err
	}
	bad, good := next, int64(-1)
	for step := int64(1); good < 0; step *= 2 {
		id := next + step
		if id < next || step <= 0 {
			return 0, false, nil
		}
		ok, err := readable(id)
		switch {
		case err != nil:
			return 0, false, err
		case ok:
			good = id
		default:
			bad = id
		}
	}
	for good-bad > 1 {
		middle := bad + (good-bad)/2
		ok, err := readable(middle)
		switch {
		case err != nil:
			return 0, false, err
		case ok:
			good = middle
		default:
			bad = middle
		}
	}
	return good, true, nil
}

// indexed says what the index of a table has of its rows: enough to make a lost
// one again. loss names the row that was, with what is lost of it.
var indexed = map[string]struct{ read, insert, loss string }{
	"domain": {
		"SELECT id, name FROM domain INDEXED BY sqlite_autoindex_domain_1 ORDER BY name",
		"INSERT OR IGNORE INTO domain (id, name, created) VALUES (?, ?, unixepoch())",
		"SELECT 'domain ' || name || ': its limits and times are lost: set them with mailsrv domain set' FROM domain WHERE id = ?",
	},
	"mailbox": {
		"SELECT id, domain, local FROM mailbox INDEXED BY sqlite_autoindex_mailbox_1 ORDER BY domain, local",
		"INSERT OR IGNORE INTO mailbox (id, domain, local, enabled, hash, created) VALUES (?, ?, ?, 1, '', unixepoch())",
		"SELECT 'mailbox ' || local || '@' || coalesce((SELECT name FROM domain d WHERE d.id = m.domain), '?') || ': its password, limits and times are lost: set them with mailsrv mailbox passwd and mailsrv mailbox set' FROM mailbox m WHERE id = ?",
	},
	"alias": {
		"SELECT id, domain, local FROM alias INDEXED BY sqlite_autoindex_alias_1 ORDER BY domain, local",
		"INSERT OR IGNORE INTO alias (id, domain, local) VALUES (?, ?, ?)", "",
	},
	"target": {
		"SELECT alias, local, domain FROM target INDEXED BY sqlite_autoindex_target_1 ORDER BY alias, local, domain",
		"INSERT OR IGNORE INTO target (alias, local, domain) VALUES (?, ?, ?)", "",
	},
}

// fromIndex makes the lost rows of a table again as far as an index knows them.
func (r *rebuild) fromIndex(table string) error {
	known, ok := indexed[table]
	if !ok {
		return nil
	}
	err := r.from.each(known.read, func(row []driver.Value) error {
		made, _, err := r.to.exec(known.insert, row...)
		if err != nil || made == 0 || known.loss == "" {
			return err
		}
		text, err := r.to.first(known.loss, row[0])
		if err == nil && text != nil {
			r.report(text[0].(string))
		}
		return err
	})
	if is(err, sqlite3.ErrCorrupt) {
		r.report("the index of the table " + table + " is damaged too: restore a backup instead, or make what is missing again")
		return nil
	}
	return err
}

// copyHighest keeps the ids of removed mailboxes from being given again.
func (r *rebuild) copyHighest() error {
	highest, err := r.from.number("SELECT seq FROM sqlite_sequence WHERE name = 'mailbox'")
	if err != nil && !is(err, sqlite3.ErrCorrupt) {
		return err
	}
	if _, _, err := r.to.exec("DELETE FROM sqlite_sequence WHERE name = 'mailbox' AND seq <= ?", highest); err != nil {
		return err
	}
	_, _, err = r.to.exec("INSERT INTO sqlite_sequence (name, seq) SELECT 'mailbox', ? WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'mailbox')", highest)
	return err
}

// saveOwnerless writes the content that no entry has any more into files.
func (r *rebuild) saveOwnerless() error {
	saved := 0
	err := r.to.each("SELECT id, prefix, data FROM body WHERE id NOT IN "+needed+" AND id NOT IN (SELECT body FROM doomed) AND id NOT IN (SELECT body FROM transfer)", func(row []driver.Value) error {
		if err := os.MkdirAll(r.lost(), 0o700); err != nil {
			return err
		}
		id := row[0].(int64)
		f, err := os.OpenFile(filepath.Join(r.lost(), fmt.Sprintf("%d.eml", id)), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer f.Close()
		data, _ := row[2].([]byte)
		if _, err := f.Write(append([]byte(row[1].(string)), data...)); err != nil {
			return err
		}
		err = r.to.each("SELECT data FROM chunk WHERE id BETWEEN ? AND ? ORDER BY id", func(row []driver.Value) error {
			_, err := f.Write(row[0].([]byte))
			return err
		}, id<<chunkShift, id<<chunkShift|(1<<chunkShift-1))
		if err != nil {
			return err
		}
		saved++
		return errors.Join(f.Sync(), r.ctx.Err())
	})
	if saved > 0 {
		r.report(fmt.Sprintf("content of %d messages whose entry is lost was saved in %s: the trace field Received says for whom each was", saved, r.lost()))
	}
	return err
}
