package sqlite

import (
	"context"
	"database/sql/driver"
	"time"

	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
	"mailsrv/quota"
)

// mailboxColumns are what scanMailbox reads; m is the mailbox, d its domain, p
// its maildrop.
const mailboxColumns = `m.id, m.local, d.name, m.enabled, m.hash, m.created,
    m.limit_octets, m.limit_messages, d.limit_octets, d.limit_messages, p.octets, p.messages,
    m.keep_retrieved, m.keep_deleted, d.keep_retrieved, d.keep_deleted`

// limitOf reads two columns of which NULL inherits.
func limitOf(octets, messages driver.Value) quota.Limit {
	l := quota.Limit{Octets: quota.Inherit, Messages: quota.Inherit}
	if n, ok := octets.(int64); ok {
		l.Octets = n
	}
	if n, ok := messages.(int64); ok {
		l.Messages = n
	}
	return l
}

// retentionOf reads two columns of seconds: NULL is not set, 0 is off.
func retentionOf(retrieved, deleted driver.Value) directory.Retention {
	return directory.Retention{Retrieved: keepOf(retrieved), Deleted: keepOf(deleted)}
}

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

// limitValue is the reverse of limitOf, for one column.
func limitValue(n int64) driver.Value {
	if n < 0 {
		return nil
	}
	return n
}

func scanMailbox(row []driver.Value) directory.Mailbox {
	m := directory.Mailbox{
		ID:      mail.MailboxID(row[0].(int64)),
		Address: mail.Address{Local: row[1].(string), Domain: row[2].(string)},
		Enabled: row[3].(int64) != 0,
		Hash:    row[4].(string),
		Created: time.Unix(row[5].(int64), 0),
		Limit:   limitOf(row[6], row[7]),
	}
	m.Effective = m.Limit.Or(limitOf(row[8], row[9]))
	m.Usage.Octets, _ = row[10].(int64)
	m.Usage.Messages, _ = row[11].(int64)
	m.Retention = retentionOf(row[12], row[13])
	m.EffectiveRetention = m.Retention.Effective(retentionOf(row[14], row[15]))
	return m
}

// Lookup implements directory.Reader. Every RCPT and every login asks it.
func (s *Store) Lookup(ctx context.Context, a mail.Address) (directory.Match, error) {
	if m := s.writer.remembered.mailbox(a); m != nil {
		return directory.Match{Hosted: true, Mailbox: m}, nil
	}
	var match directory.Match
	err := s.readers.use(ctx, func(c *conn) error {
		moment := s.writer.remembered.now()
		m, last, err := lookupMailbox(c, a)
		if err != nil {
			return err
		}
		if m != nil {
			s.writer.remembered.put(m, last, moment)
			match = directory.Match{Hosted: true, Mailbox: m}
			return nil
		}
		domain, err := c.number("SELECT id FROM domain WHERE name = ?", a.Domain)
		if err != nil || domain == 0 {
			return err
		}
		match.Hosted = true
		alias, err := c.number("SELECT id FROM alias WHERE domain = ? AND local = ?", domain, a.Local)
		if err != nil || alias == 0 {
			return err
		}
		targets, err := targetsOf(c, alias)
		if len(targets) > 0 {
			match.Alias = &directory.Alias{Address: a, Targets: targets}
		}
		return err
	})
	return match, err
}

// lookupMailbox asks all in one statement: two would be two read transactions, each
// of which reads again what a commit has changed meanwhile. Subqueries cost a tenth
// of joins. last is the highest sequence in the maildrop.
func lookupMailbox(c *conn, a mail.Address) (m *directory.Mailbox, last int64, err error) {
	row, err := c.first(`SELECT m.id, m.enabled, m.hash, m.created, m.limit_octets, m.limit_messages,
    (SELECT octets FROM maildrop WHERE id = m.id), (SELECT messages FROM maildrop WHERE id = m.id),
    m.keep_retrieved, m.keep_deleted,
    (SELECT limit_octets FROM domain WHERE id = m.domain), (SELECT limit_messages FROM domain WHERE id = m.domain),
    (SELECT keep_retrieved FROM domain WHERE id = m.domain), (SELECT keep_deleted FROM domain WHERE id = m.domain),
    (SELECT last FROM maildrop WHERE id = m.id)
FROM mailbox m WHERE m.domain = (SELECT id FROM domain WHERE name = ?) AND m.local = ?`, a.Domain, a.Local)
	if err != nil || row == nil {
		return nil, 0, err
	}
	m = &directory.Mailbox{
		ID:      mail.MailboxID(row[0].(int64)),
		Address: a,
		Enabled: row[1].(int64) != 0,
		Hash:    row[2].(string),
		Created: time.Unix(row[3].(int64), 0),
		Limit:   limitOf(row[4], row[5]),

		Retention: retentionOf(row[8], row[9]),
	}
	m.Usage.Octets, _ = row[6].(int64)
	m.Usage.Messages, _ = row[7].(int64)
	m.Effective = m.Limit.Or(limitOf(row[10], row[11]))
	m.EffectiveRetention = m.Retention.Effective(retentionOf(row[12], row[13]))
	last, _ = row[14].(int64)
	return m, last, nil
}

func targetsOf(c *conn, alias int64) ([]mail.Address, error) {
	var targets []mail.Address
	err := c.each("SELECT local, domain FROM target WHERE alias = ? ORDER BY domain, local", func(row []driver.Value) error {
		targets = append(targets, mail.Address{Local: row[0].(string), Domain: row[1].(string)})
		return nil
	}, alias)
	return targets, err
}

// Postmaster implements directory.Reader.
func (s *Store) Postmaster(ctx context.Context, domain string) (directory.Mailbox, error) {
	var m directory.Mailbox
	err := s.readers.use(ctx, func(c *conn) error {
		row, err := c.first(`SELECT `+mailboxColumns+` FROM domain asked
JOIN mailbox m ON m.id = coalesce(asked.postmaster, (SELECT min(id) FROM mailbox WHERE domain = asked.id))
JOIN domain d ON d.id = m.domain
JOIN maildrop p ON p.id = m.id
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

const domainQuery = `SELECT d.name, m.local, h.name, d.limit_octets, d.limit_messages, d.created,
    d.keep_retrieved, d.keep_deleted
FROM domain d LEFT JOIN mailbox m ON m.id = d.postmaster LEFT JOIN domain h ON h.id = m.domain`

func scanDomain(row []driver.Value) directory.Domain {
	d := directory.Domain{
		Name:    row[0].(string),
		Limit:   limitOf(row[3], row[4]),
		Created: time.Unix(row[5].(int64), 0),

		Retention: retentionOf(row[6], row[7]),
	}
	d.Postmaster.Local, _ = row[1].(string)
	d.Postmaster.Domain, _ = row[2].(string)
	return d
}

// Expiries implements directory.Reader. What a domain sets counts as some
// mailbox's, whether or not one inherits it: few domains are read for that, not
// every mailbox.
func (s *Store) Expiries(ctx context.Context) ([]time.Duration, error) {
	return collect(ctx, &s.readers, func(row []driver.Value) time.Duration {
		return max(keepOf(row[0]), 0)
	}, `SELECT coalesce(keep_retrieved, 0) FROM domain
UNION SELECT keep_retrieved FROM mailbox WHERE keep_retrieved IS NOT NULL`)
}

// Domain implements directory.Reader.
func (s *Store) Domain(ctx context.Context, name string) (directory.Domain, error) {
	found, err := collect(ctx, &s.readers, scanDomain, domainQuery+" WHERE d.name = ?", name)
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
	return collect(ctx, &s.readers, scanDomain, domainQuery+" ORDER BY d.name")
}

// Mailboxes implements directory.Reader.
func (s *Store) Mailboxes(ctx context.Context, domain string) ([]directory.Mailbox, error) {
	return collect(ctx, &s.readers, scanMailbox, `SELECT `+mailboxColumns+`
FROM mailbox m JOIN domain d ON d.id = m.domain JOIN maildrop p ON p.id = m.id
WHERE ?1 = '' OR d.name = ?1 ORDER BY d.name, m.local`, domain)
}

// Aliases implements directory.Reader.
func (s *Store) Aliases(ctx context.Context, domain string) ([]directory.Alias, error) {
	var all []directory.Alias
	err := s.readers.snapshot(ctx, func(c *conn) error {
		var ids []int64
		err := c.each(`SELECT a.id, a.local, d.name FROM alias a JOIN domain d ON d.id = a.domain
WHERE ?1 = '' OR d.name = ?1 ORDER BY d.name, a.local`, func(row []driver.Value) error {
			ids = append(ids, row[0].(int64))
			all = append(all, directory.Alias{Address: mail.Address{Local: row[1].(string), Domain: row[2].(string)}})
			return nil
		}, domain)
		for i := range all {
			if err == nil {
				all[i].Targets, err = targetsOf(c, ids[i])
			}
		}
		return err
	})
	return all, err
}
