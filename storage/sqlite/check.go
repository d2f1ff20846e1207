package sqlite

import (
	"context"
	"database/sql/driver"
	"fmt"
	"strings"

	"github.com/mattn/go-sqlite3"
)

// rule is one thing that always holds. query yields the rows that break it,
// each with the finding's text in its first column. mend makes it hold again;
// where it is empty only a person can decide, and advice says what.
type rule struct {
	query  string
	mend   string
	advice string
}

// needed are the bodies that some row needs, shared those counted in share, own
// the entries of a row of maildrop.
const (
	own    = "entry WHERE id BETWEEN maildrop.id << 40 AND (maildrop.id + 1 << 40) - 1"
	needed = "(SELECT body FROM message UNION ALL SELECT body FROM removed)"
	shared = "(SELECT body FROM message WHERE shared = 1 UNION ALL SELECT body FROM removed WHERE shared = 1)"
)

// address names a mailbox by its address, or by its id where it has none.
func address(id string) string {
	return "coalesce((SELECT m.local || '@' || d.name FROM mailbox m JOIN domain d ON d.id = m.domain WHERE m.id = " + id + "), " + id + ")"
}

// twice are the arrivals that cannot be settled, since their maildrop has given
// their sequence before.
const twice = "arrival WHERE id IN (SELECT id FROM entry) OR id IN (SELECT id FROM arrival GROUP BY id HAVING count(*) > 1)"

// rules are checked in this order, so that an earlier mend can feed a later.
var rules = []rule{
	{ // before all is settled
		query: `SELECT 'maildrop ' || ` + address("arrival.id >> 40") + ` || ' gave sequence ' || (id & (1 << 40) - 1) || ' twice' FROM ` + twice,
		mend: `UPDATE arrival SET id = number - (SELECT min(number) FROM arrival) + 1 +
    (SELECT max(id) FROM message m WHERE m.id BETWEEN arrival.id >> 40 << 40 AND ((arrival.id >> 40) + 1 << 40) - 1) FROM (SELECT number AS wrong FROM ` + twice + `) WHERE number = wrong`,
	},
	{ // doomed, transfer and orphan are waiting, not drift
		query: `SELECT 'entry of maildrop ' || maildrop || ', sequence ' || sequence || ': the mailbox does not exist' FROM message WHERE maildrop NOT IN (SELECT id FROM mailbox) AND maildrop NOT IN (SELECT maildrop FROM orphan)`,
		mend:  `INSERT OR IGNORE INTO orphan (maildrop) SELECT DISTINCT maildrop FROM entry WHERE maildrop NOT IN (SELECT id FROM mailbox)`,
	},
	{
		query: `SELECT 'mailbox ' || id || ' has no maildrop' FROM mailbox WHERE id NOT IN (SELECT id FROM maildrop)`,
		mend:  `INSERT INTO maildrop (id) SELECT id FROM mailbox WHERE id NOT IN (SELECT id FROM maildrop)`,
	},
	{
		query: `SELECT 'maildrop ' || id || ' has no mailbox' FROM maildrop WHERE id NOT IN (SELECT id FROM mailbox)`,
		mend:  `DELETE FROM maildrop WHERE id NOT IN (SELECT id FROM mailbox)`,
	},
	{
		query: `SELECT 'message ' || e.uidl || ' in ' || m.local || '@' || d.name || ': its body is missing' FROM message e JOIN mailbox m ON m.id = e.maildrop JOIN domain d ON d.id = m.domain WHERE e.body NOT IN (SELECT id FROM body)`,
		mend:  `DELETE FROM entry WHERE body NOT IN (SELECT id FROM body)`,
	},
	{
		query: `SELECT 'message ' || e.uidl || ' in maildrop ' || ` + address("e.maildrop") + ` || ': its size is ' || e.octets || ', its parts have ' || (length(CAST(b.prefix AS BLOB)) + length(CAST(e.own AS BLOB)) + b.octets) FROM message e JOIN body b ON b.id = e.body WHERE e.octets <> length(CAST(b.prefix AS BLOB)) + length(CAST(e.own AS BLOB)) + b.octets`,
		mend:  `UPDATE entry SET octets = (SELECT length(CAST(b.prefix AS BLOB)) + length(CAST(entry.own AS BLOB)) + b.octets FROM body b WHERE b.id = entry.body) WHERE body IN (SELECT id FROM body)`,
	},
	{
		query: `SELECT 'maildrop ' || ` + address("p.id") + ` || ' counts ' || p.octets || ' octets in ' || p.messages || ' messages, holds ' || coalesce(e.octets, 0) || ' in ' || coalesce(e.messages, 0) FROM maildrop p LEFT JOIN (SELECT maildrop, sum(octets) AS octets, count(*) AS messages FROM message GROUP BY maildrop) e ON e.maildrop = p.id WHERE p.octets <> coalesce(e.octets, 0) OR p.messages <> coalesce(e.messages, 0)`,
		mend:  `UPDATE maildrop SET octets = (SELECT coalesce(sum(octets), 0) FROM ` + own + `), messages = (SELECT count(*) FROM ` + own + `)`,
	},
	{
		query: `SELECT 'maildrop ' || ` + address("p.id") + ` || ' gave sequence ' || p.last || ', holds ' || max(e.sequence) FROM maildrop p JOIN message e ON e.maildrop = p.id GROUP BY p.id HAVING max(e.sequence) > p.last`,
		mend:  `UPDATE maildrop SET last = max(last, (SELECT coalesce(max(sequence), 0) FROM ` + own + `))`,
	},
	{
		query:  `SELECT 'maildrop ' || ` + address("maildrop") + ` || ' holds UIDL ' || uidl || ' ' || count(*) || ' times' FROM message GROUP BY maildrop, uidl HAVING count(*) > 1`,
		advice: "remove all but one with mailsrv maildrop purge",
	},
	{
		query: `SELECT 'body ' || s.body || ' counts ' || s.refs || ' entries, has ' || coalesce(n.n, 0) FROM share s LEFT JOIN (SELECT body, count(*) AS n FROM ` + shared + ` GROUP BY body) n ON n.body = s.body WHERE s.refs <> coalesce(n.n, 0)`,
		mend:  `UPDATE share SET refs = (SELECT count(*) FROM ` + shared + ` n WHERE n.body = share.body); DELETE FROM share WHERE refs = 0`,
	},
	{
		query: `SELECT 'shared body ' || body || ' is not counted' FROM (SELECT body FROM ` + shared + ` GROUP BY body) WHERE body NOT IN (SELECT body FROM share)`,
		mend:  `INSERT INTO share (body, refs) SELECT body, count(*) FROM ` + shared + ` WHERE body NOT IN (SELECT body FROM share) GROUP BY body`,
	},
	{
		query: `SELECT 'body ' || body || ' waits to be freed but is needed' FROM doomed WHERE body IN ` + needed,
		mend:  `DELETE FROM doomed WHERE body IN ` + needed,
	},
	{
		query: `SELECT 'body ' || id || ' belongs to no message' FROM body WHERE id NOT IN ` + needed + ` AND id NOT IN (SELECT body FROM doomed) AND id NOT IN (SELECT body FROM transfer)`,
		mend:  `INSERT INTO doomed (body) SELECT id FROM body WHERE id NOT IN ` + needed + ` AND id NOT IN (SELECT body FROM doomed) AND id NOT IN (SELECT body FROM transfer)`,
	},
	{
		query: `SELECT 'chunk ' || id || ' belongs to no body' FROM chunk WHERE id >> 16 NOT IN (SELECT id FROM body)`,
		mend:  `DELETE FROM chunk WHERE id >> 16 NOT IN (SELECT id FROM body)`,
	},
	{
		query:  `SELECT 'address ' || m.local || '@' || d.name || ' is both a mailbox and an alias' FROM mailbox m JOIN alias a ON a.domain = m.domain AND a.local = m.local JOIN domain d ON d.id = m.domain`,
		advice: "remove one of them",
	},
	{
		query:  `SELECT 'alias target ' || t.local || '@' || t.domain || ' does not exist' FROM target t WHERE NOT EXISTS (SELECT 1 FROM domain d WHERE d.name = t.domain AND (EXISTS (SELECT 1 FROM mailbox m WHERE m.domain = d.id AND m.local = t.local) OR EXISTS (SELECT 1 FROM alias a WHERE a.domain = d.id AND a.local = t.local)))`,
		advice: "remove it with mailsrv alias remove",
	},
}

// Check implements storage.Checker. With repair the store must have been
// opened with Exclusive; without, a server may be at work meanwhile.
func (s *Store) Check(ctx context.Context, repair bool, report func(finding string)) (remaining int, err error) {
	if repair {
		if !s.options.Exclusive {
			return 0, fmt.Errorf("a repair needs the store to itself")
		}
		if err := s.mendAll(ctx, report); err != nil {
			return 0, err
		}
	}
	err = s.readers.snapshot(ctx, func(c *conn) error {
		count := func(finding string) {
			remaining++
			report(finding)
		}
		if err := s.pragmaCheck(ctx, c, count); err != nil {
			return err
		}
		for _, r := range rules {
			err := c.eachUntil(ctx, r.query, func(row []driver.Value) error {
				count(findingText(row[0], r))
				return ctx.Err()
			})
			if err != nil && (!is(err, sqlite3.ErrCorrupt) || remaining == 0) { // pragmaCheck has told of damage
				return err
			}
		}
		return (&sums{c: c, ctx: ctx, count: count}).check()
	})
	return remaining, err
}

func findingText(text driver.Value, r rule) string {
	finding, _ := text.(string)
	if r.mend != "" {
		return finding + ": mailsrv check --repair mends it"
	}
	return finding + ": " + r.advice
}

// mendAll applies the remedies of all rules.
func (s *Store) mendAll(ctx context.Context, report func(string)) error {
	if err := s.mend(ctx, rules[0], report); err != nil {
		return err
	}
	if err := s.settleAll(ctx); err != nil {
		return err
	}
	for _, r := range rules[1:] {
		if err := s.mend(ctx, r, report); err != nil {
			return err
		}
	}
	return nil
}

// mend applies one rule's remedy where it is broken. What cannot be asked for,
// because a page is damaged, is left to Check to tell of.
func (s *Store) mend(ctx context.Context, r rule, report func(string)) error {
	if r.mend == "" {
		return nil
	}
	var broken []string
	err := s.readers.snapshot(ctx, func(c *conn) error {
		return c.eachUntil(ctx, r.query, func(row []driver.Value) error {
			finding, _ := row[0].(string)
			broken = append(broken, finding)
			return ctx.Err()
		})
	})
	if is(err, sqlite3.ErrCorrupt) {
		return nil
	}
	if err != nil || len(broken) == 0 {
		return err
	}
	err = s.writer.change(ctx, func(c *conn, _ func(error)) error { return c.script(r.mend) })
	if err != nil {
		return err
	}
	for _, finding := range broken {
		report("mended: " + finding)
	}
	return nil
}

// integrityCheck lets SQLite look at its own pages, indexes and constraints.
func integrityCheck(ctx context.Context, c *conn, count func(string)) error {
	err := c.eachUntil(ctx, "PRAGMA integrity_check", func(row []driver.Value) error {
		if text, _ := row[0].(string); text != "ok" {
			count(strings.ReplaceAll(text, "\n", " "))
		}
		return nil
	})
	if is(err, sqlite3.ErrCorrupt) {
		count(err.Error())
		return nil
	}
	return err
}

// pragmaCheck counts what SQLite finds.
func (s *Store) pragmaCheck(ctx context.Context, c *conn, count func(string)) error {
	if !s.options.Sound {
		err := integrityCheck(ctx, c, func(text string) {
			count("database: " + text + ": mailsrv check --repair saves what can be read, or restore a backup")
		})
		if err != nil {
			return err
		}
	}
	err := c.eachUntil(ctx, "PRAGMA foreign_key_check", func(row []driver.Value) error {
		count(fmt.Sprintf("database: a row of %v points to no row of %v: restore a backup", row[0], row[2]))
		return nil
	})
	if is(err, sqlite3.ErrCorrupt) {
		return nil
	}
	return err
}
