package repair

import (
	"context"
	"database/sql/driver"
	"fmt"
	"slices"
	"strings"

	"mailsrv/internal/mail"

	"github.com/mattn/go-sqlite3"

	"mailsrv/internal/directory"
	"mailsrv/storage"
	"mailsrv/storage/sqlite/db"
	"mailsrv/storage/sqlite/tables"
)

// Access is how this package reads and changes a store.
type Access struct {
	// Read calls f inside a read transaction: all that f reads is of one moment.
	Read func(ctx context.Context, f func(*db.Conn) error) error
	// Write calls f inside a transaction, and commits that unless f fails.
	Write func(ctx context.Context, f func(*db.Conn) error) error
}

// Check recounts a store of the newest schema, reports what does not agree, and returns the
// number of findings. If sound is set, the pages have just been found sound and are not
// checked again.
//
// The findings are reported after the transaction: report may wait for a person, as a pager
// does, and an open transaction would keep the write-ahead log from being restarted.
func Check(ctx context.Context, a Access, sound bool, report func(storage.Finding)) (findings int, err error) {
	var found []storage.Finding
	defer func() {
		for _, f := range found {
			report(f)
		}
	}()
	err = a.Read(ctx, func(c *db.Conn) error {
		count := func(f storage.Finding) {
			findings++
			found = append(found, f)
		}
		if err := pragmaCheck(ctx, c, sound, count); err != nil {
			return err
		}
		for _, r := range slices.Concat(firstRules, rules) {
			err := c.EachUntil(ctx, r.query, func(row []driver.Value) error {
				text, _ := row[0].(string)
				count(storage.Finding{Text: text, Remedy: r.remedyOf()})
				return ctx.Err()
			})
			if err != nil && (!db.Is(err, sqlite3.ErrCorrupt) || findings == 0) { // pragmaCheck has reported damage
				return err
			}
		}
		if err := checkAliases(ctx, c, count); err != nil {
			return err
		}
		return (&sums{c: c, ctx: ctx, count: count}).check()
	})
	return findings, err
}

// checkAliases reports the aliases that do not lead to a mailbox.
func checkAliases(ctx context.Context, c *db.Conn, count func(storage.Finding)) error {
	var all []directory.Alias
	err := c.EachUntil(ctx, "SELECT a.local, d.name FROM alias a JOIN domain d ON d.id = a.domain ORDER BY d.name, a.local", func(row []driver.Value) error {
		all = append(all, directory.Alias{Address: mail.Address{Local: row[0].(string), Domain: row[1].(string)}})
		return ctx.Err()
	})
	if err == nil {
		err = directory.EachOutgrown(tables.Aliases{Conn: c}, all, func(o *directory.OutgrownError) {
			count(storage.Finding{Text: o.Error(), Remedy: storage.RemoveTarget})
		})
	}
	if db.Is(err, sqlite3.ErrCorrupt) {
		return nil // pragmaCheck has reported damage
	}
	return err
}

// remedyOf returns the remedy for a broken rule.
func (r rule) remedyOf() storage.Remedy {
	if r.remedy == storage.NoRemedy {
		return storage.Repair
	}
	return r.remedy
}

// Mend mends all broken rules that can be mended, and reports what it mended. Nobody else
// may use the store meanwhile.
func Mend(ctx context.Context, a Access, report func(storage.Finding)) error {
	for _, r := range firstRules {
		if err := mend(ctx, a, r, report); err != nil {
			return err
		}
	}
	if err := compactAll(ctx, a); err != nil {
		return err
	}
	for _, r := range rules {
		if err := mend(ctx, a, r, report); err != nil {
			return err
		}
	}
	return nil
}

// mend mends one rule if it is broken. If a damaged page prevents its query, that is left
// to Check to report.
func mend(ctx context.Context, a Access, r rule, report func(storage.Finding)) error {
	if r.remedy != storage.NoRemedy {
		return nil
	}
	var broken []string
	err := a.Read(ctx, func(c *db.Conn) error {
		return c.EachUntil(ctx, r.query, func(row []driver.Value) error {
			finding, _ := row[0].(string)
			broken = append(broken, finding)
			return ctx.Err()
		})
	})
	if db.Is(err, sqlite3.ErrCorrupt) {
		return nil
	}
	if err != nil || len(broken) == 0 {
		return err
	}
	err = a.Write(ctx, func(c *db.Conn) error {
		if r.repair != nil {
			return r.repair(c)
		}
		return c.Script(r.mend)
	})
	if err != nil {
		return err
	}
	for _, finding := range broken {
		report(storage.Finding{Text: finding, Mended: true})
	}
	return nil
}

// perCompaction is the number of arrivals that one transaction of a repair compacts.
const perCompaction = 512

// compactAll compacts all arrivals: the repairs work only on compacted entries.
func compactAll(ctx context.Context, a Access) error {
	for behind := int64(0); ; {
		next := int64(0)
		err := a.Write(ctx, func(c *db.Conn) (err error) {
			_, next, err = tables.Compact(c, behind, perCompaction)
			return err
		})
		if err != nil || next == 0 {
			return err
		}
		behind = next
	}
}

// integrityCheck lets SQLite check its pages, indexes and constraints, and calls count with
// each error that it finds.
func integrityCheck(ctx context.Context, c *db.Conn, count func(text string)) error {
	err := c.EachUntil(ctx, "PRAGMA integrity_check", func(row []driver.Value) error {
		if text, _ := row[0].(string); text != "ok" {
			count(strings.ReplaceAll(text, "\n", " "))
		}
		return nil
	})
	if db.Is(err, sqlite3.ErrCorrupt) {
		count(err.Error())
		return nil
	}
	return err
}

// pragmaCheck reports what SQLite's own checks find. It skips that of the pages if they are
// known to be sound.
func pragmaCheck(ctx context.Context, c *db.Conn, sound bool, count func(storage.Finding)) error {
	if !sound {
		err := integrityCheck(ctx, c, func(text string) {
			count(storage.Finding{Text: "database: " + text, Remedy: storage.Rebuild})
		})
		if err != nil {
			return err
		}
	}
	err := c.EachUntil(ctx, "PRAGMA foreign_key_check", func(row []driver.Value) error {
		count(storage.Finding{Text: fmt.Sprintf("database: a row of %v points to no row of %v", row[0], row[2]), Remedy: storage.Restore})
		return nil
	})
	if db.Is(err, sqlite3.ErrCorrupt) {
		return nil
	}
	return err
}
