package repair

import (
	"context"
	"database/sql/driver"
	"fmt"
	"slices"
	"strings"

	"github.com/mattn/go-sqlite3"

	"mailsrv/storage"
	"mailsrv/storage/sqlite/db"
	"mailsrv/storage/sqlite/tables"
)

// Access is how a store is read and changed here.
type Access struct {
	// Read lends a connection inside a read transaction: all is of one moment.
	Read func(ctx context.Context, f func(*db.Conn) error) error
	// Write lends one inside a transaction, which it commits unless f fails.
	Write func(ctx context.Context, f func(*db.Conn) error) error
}

// Check recounts a store of the newest schema, and reports what does not agree.
// sound says that the pages were just found so. It returns how many findings there are.
//
// They are reported once the transaction is over: who shows them may wait for a person, as
// a pager does, and the write-ahead log could not begin anew.
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
			if err != nil && (!db.Is(err, sqlite3.ErrCorrupt) || findings == 0) { // pragmaCheck has told of damage
				return err
			}
		}
		return (&sums{c: c, ctx: ctx, count: count}).check()
	})
	return findings, err
}

// remedyOf is what helps where a rule is broken.
func (r rule) remedyOf() storage.Remedy {
	if r.remedy == storage.NoRemedy {
		return storage.Repair
	}
	return r.remedy
}

// Mend applies the remedies of all rules that have one, and reports what it mended. The
// store must be nobody else's meanwhile.
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

// mend applies one rule's remedy where it is broken. What cannot be asked for,
// because a page is damaged, is left to Check to tell of.
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

// perCompaction is how many arrivals one transaction of a repair compacts.
const perCompaction = 512

// compactAll compacts all arrivals: the remedies know compacted entries.
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

// integrityCheck lets SQLite look at its own pages, indexes and constraints.
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

// pragmaCheck counts what SQLite finds; of its pages, unless they are known to be sound.
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
