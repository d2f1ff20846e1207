package sqlite

import (
	"context"
	"database/sql/driver"
	"slices"
	"strings"
	"time"

	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
	"mailsrv/quota"
	"mailsrv/storage/sqlite/db"
	"mailsrv/storage/sqlite/tables"
)

// mailboxColumns are the columns that scanMailbox reads. m is the mailbox, d its domain, and
// p the counters of its INBOX.
const mailboxColumns = `m.id, m.local, d.name, m.receives, m.logs_in, m.sends, m.hash, m.created, p.all_octets, p.all_messages,
    m.limit_octets, m.limit_messages, m.keep_retrieved, m.keep_deleted,
    d.limit_octets, d.limit_messages, d.keep_retrieved, d.keep_deleted`

// policyColumns are the columns that policyOf reads, in its order.
const policyColumns = "limit_octets, limit_messages, keep_retrieved, keep_deleted"

// policyOf reads a policy. A column that is NULL is not set.
func policyOf(row []driver.Value) directory.Policy {
	return directory.Policy{
		Limit:     quota.Limit{Octets: amountOf(row[0]), Messages: amountOf(row[1])},
		Retention: directory.Retention{Retrieved: keepOf(row[2]), Deleted: keepOf(row[3])},
	}
}

// policyValues is the reverse of policyOf.
func policyValues(p directory.Policy) (limitOctets, limitMessages, keepRetrieved, keepDeleted driver.Value) {
	return amountValue(p.Limit.Octets), amountValue(p.Limit.Messages), keepValue(p.Retention.Retrieved), keepValue(p.Retention.Deleted)
}

// amountOf reads one part of a limit: 0 is no limit.
func amountOf(column driver.Value) int64 {
	amount, set := column.(int64)
	if !set {
		return quota.Inherit
	}
	return quota.OrUnlimited(amount)
}

// amountValue is the reverse of amountOf.
func amountValue(amount int64) driver.Value {
	if amount == quota.Inherit {
		return nil
	}
	return max(amount, 0)
}

// keepOf reads one part of a retention, in seconds: 0 is off.
func keepOf(column driver.Value) time.Duration {
	switch seconds, set := column.(int64); {
	case !set:
		return 0
	case seconds == 0:
		return directory.RetentionOff
	default:
		return time.Duration(seconds) * time.Second
	}
}

// keepValue is the reverse of keepOf.
func keepValue(d time.Duration) driver.Value {
	if d == 0 {
		return nil
	}
	return int64(max(d, 0) / time.Second)
}

// switchColumns are the columns that switchesOf reads, in its order.
const switchColumns = "receives, logs_in, sends"

// switchesOf reads a mailbox's switches.
func switchesOf(row []driver.Value) (on directory.Switches) {
	for i, one := range [...]directory.Switches{directory.Receives, directory.LogsIn, directory.Sends} {
		if row[i].(int64) != 0 {
			on |= one
		}
	}
	return on
}

// switchValues is the reverse of switchesOf.
func switchValues(on directory.Switches) (receives, logsIn, sends driver.Value) {
	return boolValue(on.Has(directory.Receives)), boolValue(on.Has(directory.LogsIn)), boolValue(on.Has(directory.Sends))
}

func scanMailbox(row []driver.Value) directory.Mailbox {
	m := directory.Mailbox{
		ID:       mail.MailboxID(row[0].(int64)),
		Address:  mail.Address{Local: row[1].(string), Domain: row[2].(string)},
		Switches: switchesOf(row[3:]),
		Hash:     row[6].(string),
		Created:  time.Unix(row[7].(int64), 0),
		Policy:   policyOf(row[10:]),
	}
	m.Usage.Octets, _ = row[8].(int64)
	m.Usage.Messages, _ = row[9].(int64)
	m.Effective = m.Policy.Or(policyOf(row[14:]))
	return m
}

// Lookup implements directory.Reader. Every RCPT and every login asks it.
func (s *Store) Lookup(ctx context.Context, a mail.Address) (directory.Match, error) {
	if m := s.cache.mailbox(a); m != nil {
		return directory.Match{Hosted: true, Mailbox: m}, nil
	}
	if match, ok := s.cache.other(a); ok {
		return match, nil
	}
	var match directory.Match
	edits := s.cache.edited()
	err := s.readers.Use(ctx, func(c *db.Conn) error {
		moment := s.cache.now()
		m, now, err := lookupMailbox(c, a)
		if err != nil {
			return err
		}
		if m != nil {
			if now.Folder != 0 {
				s.cache.put(m, now, moment)
			}
			match = directory.Match{Hosted: true, Mailbox: m}
			return nil
		}
		domain, err := c.Number("SELECT id FROM domain WHERE name = ?", a.Domain)
		if err != nil || domain == 0 {
			return err
		}
		match.Hosted = true
		alias, err := c.Number("SELECT id FROM alias WHERE domain = ? AND local = ?", domain, a.Local)
		if err != nil || alias == 0 {
			return err
		}
		targets, err := tables.TargetsOf(c, alias)
		if len(targets) > 0 {
			match.Alias = &directory.Alias{Address: a, Targets: targets}
		}
		return err
	})
	if err == nil && match.Mailbox == nil {
		s.cache.putOther(a, match, edits)
	}
	return match, err
}

// lookupMailbox reads everything in one statement: two would be two read transactions, each
// of which reads again the pages that a commit has changed. Subqueries cost a tenth of
// joins.
func lookupMailbox(c *db.Conn, a mail.Address) (m *directory.Mailbox, now tables.Counters, err error) {
	row, err := c.First(`SELECT m.id, m.receives, m.logs_in, m.sends, m.hash, m.created,
    m.inbox, (SELECT octets FROM tally WHERE folder = m.inbox), (SELECT messages FROM tally WHERE folder = m.inbox),
    (SELECT all_octets FROM tally WHERE folder = m.inbox), (SELECT all_messages FROM tally WHERE folder = m.inbox),
    (SELECT last FROM tally WHERE folder = m.inbox),
    m.limit_octets, m.limit_messages, m.keep_retrieved, m.keep_deleted,
    (SELECT limit_octets FROM domain WHERE id = m.domain), (SELECT limit_messages FROM domain WHERE id = m.domain),
    (SELECT keep_retrieved FROM domain WHERE id = m.domain), (SELECT keep_deleted FROM domain WHERE id = m.domain)
FROM mailbox m WHERE m.domain = (SELECT id FROM domain WHERE name = ?) AND m.local = ?`, a.Domain, a.Local)
	if err != nil || row == nil {
		return nil, now, err
	}
	m = &directory.Mailbox{
		ID:       mail.MailboxID(row[0].(int64)),
		Address:  a,
		Switches: switchesOf(row[1:]),
		Hash:     row[4].(string),
		Created:  time.Unix(row[5].(int64), 0),
		Policy:   policyOf(row[12:]),
	}
	m.Effective = m.Policy.Or(policyOf(row[16:]))
	if row[7] != nil { // NULL: a damaged page has lost it
		now = tables.ScanCounters(int64(m.ID), row[6:])
	}
	m.Usage = now.Usage
	return m, now, nil
}

// Postmaster implements directory.Reader.
func (s *Store) Postmaster(ctx context.Context, domain string) (directory.Mailbox, error) {
	var m directory.Mailbox
	err := s.readers.Use(ctx, func(c *db.Conn) error {
		row, err := c.First(`SELECT `+mailboxColumns+` FROM domain asked
JOIN mailbox m ON m.id = coalesce(asked.postmaster, (SELECT min(id) FROM mailbox WHERE domain = asked.id))
JOIN domain d ON d.id = m.domain
JOIN tally p ON p.folder = m.inbox
WHERE asked.name = ?`, domain)
		if err != nil {
			return err
		}
		if row == nil {
			return directory.ErrNotFound
		}
		m = scanMailbox(row)
		return nil
	})
	return m, err
}

const domainQuery = `SELECT d.name, m.local, h.name, d.created,
    d.limit_octets, d.limit_messages, d.keep_retrieved, d.keep_deleted
FROM domain d LEFT JOIN mailbox m ON m.id = d.postmaster LEFT JOIN domain h ON h.id = m.domain`

func scanDomain(row []driver.Value) directory.Domain {
	d := directory.Domain{
		Name:    row[0].(string),
		Created: time.Unix(row[3].(int64), 0),
		Policy:  policyOf(row[4:]),
	}
	d.Effective = d.Policy
	d.Postmaster.Local, _ = row[1].(string)
	d.Postmaster.Domain, _ = row[2].(string)
	return d
}

// Expiries implements directory.Reader. What a domain sets counts even if none of its
// mailboxes inherits it, so that only the few domains must be read for that and not every
// mailbox.
func (s *Store) Expiries(ctx context.Context) ([]time.Duration, error) {
	all, err := ask(ctx, s, whichExpiries, func() ([]time.Duration, error) {
		return db.All(ctx, s.readers, func(row []driver.Value) time.Duration {
			return max(keepOf(row[0]), 0)
		}, `SELECT coalesce(keep_retrieved, 0) AS keep FROM domain
UNION SELECT keep_retrieved FROM mailbox WHERE keep_retrieved IS NOT NULL ORDER BY keep`)
	})
	return slices.Clone(all), err
}

// FirstDomain implements directory.Reader.
func (s *Store) FirstDomain(ctx context.Context) (string, error) {
	name, err := ask(ctx, s, firstDomain, func() (string, error) {
		const query = "SELECT name FROM domain WHERE EXISTS (SELECT 1 FROM mailbox WHERE domain = domain.id) ORDER BY name LIMIT 1"
		all, err := db.All(ctx, s.readers, func(row []driver.Value) string { return row[0].(string) }, query)
		return strings.Join(all, ""), err
	})
	if err == nil && name == "" {
		err = directory.ErrNotFound
	}
	return name, err
}

// ask answers a question from the cache, or reads the answer and caches it. Only one caller
// reads at a time; the others wait for its answer.
func ask[T any](ctx context.Context, s *Store, q question, read func() (T, error)) (answer T, err error) {
	if known, ok := s.cache.answer(q); ok {
		return known.(T), nil
	}
	select {
	case s.cache.reading <- struct{}{}:
		defer func() { <-s.cache.reading }()
	case <-ctx.Done():
		return answer, ctx.Err()
	}
	// Reading may take longer than a lease lasts, and longer than renewing it takes. So if
	// the answer is cached and only the lease is over, wait for a new lease.
	for range 50 {
		if known, ok := s.cache.answer(q); ok {
			return known.(T), nil
		}
		if !s.cache.knows(q) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	edits := s.cache.edited()
	answer, err = read()
	if err == nil {
		s.cache.putAnswer(q, answer, edits)
	}
	return answer, err
}

// Domain implements directory.Reader.
func (s *Store) Domain(ctx context.Context, name string) (directory.Domain, error) {
	found, err := db.All(ctx, s.readers, scanDomain, domainQuery+" WHERE d.name = ?", name)
	if err != nil {
		return directory.Domain{}, err
	}
	if len(found) == 0 {
		return directory.Domain{}, directory.ErrNotFound
	}
	return found[0], nil
}

// Domains implements directory.Reader.
func (s *Store) Domains(ctx context.Context) ([]directory.Domain, error) {
	return db.All(ctx, s.readers, scanDomain, domainQuery+" ORDER BY d.name")
}

// Mailboxes implements directory.Reader.
func (s *Store) Mailboxes(ctx context.Context, domain string) ([]directory.Mailbox, error) {
	return db.All(ctx, s.readers, scanMailbox, `SELECT `+mailboxColumns+`
FROM mailbox m JOIN domain d ON d.id = m.domain JOIN tally p ON p.folder = m.inbox
WHERE ?1 = '' OR d.name = ?1 ORDER BY d.name, m.local`, domain)
}

// Aliases implements directory.Reader.
func (s *Store) Aliases(ctx context.Context, domain string) ([]directory.Alias, error) {
	var all []directory.Alias
	err := s.readers.Snapshot(ctx, func(c *db.Conn) error {
		var ids []int64
		err := c.Each(`SELECT a.id, a.local, d.name FROM alias a JOIN domain d ON d.id = a.domain
WHERE ?1 = '' OR d.name = ?1 ORDER BY d.name, a.local`, func(row []driver.Value) error {
			ids = append(ids, row[0].(int64))
			all = append(all, directory.Alias{Address: mail.Address{Local: row[1].(string), Domain: row[2].(string)}})
			return nil
		}, domain)
		for i := range all {
			if err == nil {
				all[i].Targets, err = tables.TargetsOf(c, ids[i])
			}
		}
		return err
	})
	return all, err
}
