package sqlite

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
	"mailsrv/quota"
	"mailsrv/storage/sqlite/db"
	"mailsrv/storage/sqlite/tables"
)

// Each change below checks for refusals before it writes. A refused change must have changed
// no row, since it shares the transaction with others.

// AddDomain implements directory.Directory.
func (s *Store) AddDomain(ctx context.Context, d directory.Domain) error {
	return s.edit(ctx, func(c *db.Conn, refuse func(error)) error {
		id, err := domainID(c, d.Name)
		if err != nil {
			return err
		}
		if id != 0 {
			refuse(fmt.Errorf("domain %s %w", d.Name, directory.ErrExists))
			return nil
		}
		postmaster, ok, err := postmasterValue(c, d.Postmaster, refuse)
		if err != nil || !ok {
			return err
		}
		octets, messages, retrieved, deleted := policyValues(d.Policy)
		_, _, err = c.Exec("INSERT INTO domain (name, postmaster, created, "+policyColumns+") VALUES (?, ?, ?, ?, ?, ?, ?)",
			d.Name, postmaster, time.Now().Unix(), octets, messages, retrieved, deleted)
		return err
	})
}

// ChangeDomain implements directory.Directory.
func (s *Store) ChangeDomain(ctx context.Context, name string, change func(*directory.Domain)) error {
	err := s.edit(ctx, func(c *db.Conn, refuse func(error)) error {
		row, err := c.First(domainQuery+" WHERE d.name = ?", name)
		if err != nil {
			return err
		}
		if row == nil {
			refuse(fmt.Errorf("domain %s %w", name, directory.ErrNotFound))
			return nil
		}
		d := scanDomain(row)
		change(&d)
		postmaster, ok, err := postmasterValue(c, d.Postmaster, refuse)
		if err != nil || !ok {
			return err
		}
		octets, messages, retrieved, deleted := policyValues(d.Policy)
		_, _, err = c.Exec("UPDATE domain SET postmaster = ?2, ("+policyColumns+") = (?3, ?4, ?5, ?6) WHERE name = ?1",
			name, postmaster, octets, messages, retrieved, deleted)
		if err == nil {
			err = s.dropOff(c, "domain = (SELECT id FROM domain WHERE name = ?)", name)
		}
		return err
	})
	if err == nil {
		s.boundLater(s.boundAside(ctx, "domain = (SELECT id FROM domain WHERE name = ?)", name))
	}
	return err
}

// postmasterValue returns the value to store for a postmaster. It refuses and returns not ok
// if the address is no mailbox.
func postmasterValue(c *db.Conn, a mail.Address, refuse func(error)) (value driver.Value, ok bool, err error) {
	if a.IsZero() {
		return nil, true, nil
	}
	id, err := mailboxID(c, a)
	if err == nil && id == 0 {
		refuse(fmt.Errorf("mailbox %s %w", a, directory.ErrNotFound))
	}
	return id, id != 0, err
}

// RemoveDomain implements directory.Directory.
func (s *Store) RemoveDomain(ctx context.Context, name string) error {
	return s.edit(ctx, func(c *db.Conn, refuse func(error)) error {
		id, err := domainID(c, name)
		if err != nil {
			return err
		}
		if id == 0 {
			refuse(fmt.Errorf("domain %s %w", name, directory.ErrNotFound))
			return nil
		}
		uses, err := c.First(`SELECT (SELECT count(*) FROM mailbox WHERE domain = ?1),
    (SELECT count(*) FROM alias WHERE domain = ?1),
    (SELECT count(*) FROM target WHERE domain = ?2)`, id, name)
		if err != nil {
			return err
		}
		mailboxes, aliases, targets := uses[0].(int64), uses[1].(int64), uses[2].(int64)
		if mailboxes+aliases+targets > 0 {
			refuse(fmt.Errorf("domain %s is %w: %d mailboxes, %d aliases, %d alias targets",
				name, directory.ErrInUse, mailboxes, aliases, targets))
			return nil
		}
		_, _, err = c.Exec("DELETE FROM domain WHERE id = ?", id)
		return err
	})
}

// AddMailbox implements directory.Directory.
func (s *Store) AddMailbox(ctx context.Context, m directory.Mailbox) (mail.MailboxID, error) {
	var id int64
	err := s.edit(ctx, func(c *db.Conn, refuse func(error)) error {
		domain, err := freeAddress(c, m.Address, refuse)
		if err != nil || domain == 0 {
			return err
		}
		switch given, err := c.Number("SELECT seq FROM sqlite_sequence WHERE name = 'folder'"); {
		case err != nil:
			return err
		case given >= tables.MaxFolder:
			refuse(fmt.Errorf("the store has given each of its %d folder ids, and gives none again: begin another store", given))
			return nil
		}
		octets, messages, retrieved, deleted := policyValues(m.Policy)
		receives, logsIn, sends := switchValues(m.Switches)
		_, id, err = c.Exec("INSERT INTO mailbox (domain, local, inbox, hash, created, "+switchColumns+", "+policyColumns+") VALUES (?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
			domain, m.Address.Local, m.Hash, time.Now().Unix(), receives, logsIn, sends, octets, messages, retrieved, deleted)
		if err != nil {
			return err
		}
		return tables.NewInbox(c, id)
	})
	return mail.MailboxID(id), err
}

// freeAddress returns the id of the address's domain. It refuses and returns 0 if the domain
// is not hosted or the address is taken.
func freeAddress(c *db.Conn, a mail.Address, refuse func(error)) (int64, error) {
	domain, err := domainID(c, a.Domain)
	if err != nil {
		return 0, err
	}
	if domain == 0 {
		refuse(fmt.Errorf("domain %s %w", a.Domain, directory.ErrNotFound))
		return 0, nil
	}
	taken, err := mailboxID(c, a)
	if err != nil {
		return 0, err
	}
	if taken != 0 {
		refuse(fmt.Errorf("mailbox %s %w", a, directory.ErrExists))
		return 0, nil
	}
	if taken, err = aliasID(c, a); err != nil {
		return 0, err
	}
	if taken != 0 {
		refuse(fmt.Errorf("alias %s %w", a, directory.ErrExists))
		return 0, nil
	}
	return domain, nil
}

// ChangeMailbox implements directory.Directory.
func (s *Store) ChangeMailbox(ctx context.Context, a mail.Address, change func(*directory.Mailbox)) error {
	id := int64(0)
	err := s.edit(ctx, func(c *db.Conn, refuse func(error)) error {
		row, err := c.First(`SELECT `+mailboxColumns+` FROM domain d JOIN mailbox m ON m.domain = d.id
JOIN tally p ON p.folder = m.inbox WHERE d.name = ? AND m.local = ?`, a.Domain, a.Local)
		if err != nil {
			return err
		}
		if row == nil {
			refuse(fmt.Errorf("mailbox %s %w", a, directory.ErrNotFound))
			return nil
		}
		m := scanMailbox(row)
		id = int64(m.ID)
		change(&m)
		octets, messages, retrieved, deleted := policyValues(m.Policy)
		receives, logsIn, sends := switchValues(m.Switches)
		_, _, err = c.Exec("UPDATE mailbox SET hash = ?2, ("+switchColumns+") = (?3, ?4, ?5), ("+policyColumns+") = (?6, ?7, ?8, ?9) WHERE id = ?1",
			id, m.Hash, receives, logsIn, sends, octets, messages, retrieved, deleted)
		if err == nil {
			err = s.dropOff(c, "id = ?", id)
		}
		return err
	})
	if err == nil {
		s.boundLater(s.boundAside(ctx, "id = ?", id))
	}
	return err
}

// SetHash implements directory.Directory.
func (s *Store) SetHash(ctx context.Context, id mail.MailboxID, old, hash string) error {
	return s.edit(ctx, func(c *db.Conn, refuse func(error)) error {
		_, _, err := c.Exec("UPDATE mailbox SET hash = ?3 WHERE id = ?1 AND hash = ?2", int64(id), old, hash)
		return err
	})
}

// RemoveMailbox implements directory.Directory.
func (s *Store) RemoveMailbox(ctx context.Context, a mail.Address) (quota.Usage, error) {
	var removed quota.Usage
	err := s.edit(ctx, func(c *db.Conn, refuse func(error)) error {
		id, err := mailboxID(c, a)
		if err != nil {
			return err
		}
		if id == 0 {
			refuse(fmt.Errorf("mailbox %s %w", a, directory.ErrNotFound))
			return nil
		}
		row, err := c.First(`SELECT (SELECT group_concat(name, ', ') FROM domain WHERE postmaster = ?1),
    (SELECT count(*) FROM target WHERE local = ?2 AND domain = ?3)`, id, a.Local, a.Domain)
		if err != nil {
			return err
		}
		if domains, ok := row[0].(string); ok {
			refuse(fmt.Errorf("mailbox %s is %w as postmaster of %s", a, directory.ErrInUse, domains))
			return nil
		}
		if row[1].(int64) > 0 {
			refuse(fmt.Errorf("mailbox %s is %w as target of %d aliases", a, directory.ErrInUse, row[1].(int64)))
			return nil
		}
		if row, err = c.First("SELECT all_octets, all_messages FROM tally WHERE folder = (SELECT inbox FROM mailbox WHERE id = ?)", id); err != nil {
			return err
		}
		if row != nil {
			removed = quota.Usage{Octets: row[0].(int64), Messages: row[1].(int64)}
		}
		if err := tables.DropAside(c, id); err != nil {
			return err
		}
		// A server removes the mail afterwards, in slices: a large maildrop must not hold up
		// deliveries to others.
		for _, query := range []string{
			"INSERT INTO orphan (folder, mailbox) SELECT id, mailbox FROM folder WHERE mailbox = ?",
			"DELETE FROM tally WHERE folder IN (SELECT id FROM folder WHERE mailbox = ?)",
			"DELETE FROM folder WHERE mailbox = ?",
			"DELETE FROM mailbox WHERE id = ?",
		} {
			if _, _, err := c.Exec(query, id); err != nil {
				return err
			}
		}
		return nil
	})
	s.upkeep.addGarbage(removed)
	return removed, err
}

// AddAlias implements directory.Directory.
func (s *Store) AddAlias(ctx context.Context, a directory.Alias) error {
	return s.edit(ctx, func(c *db.Conn, refuse func(error)) error {
		for _, target := range a.Targets {
			known, err := mailboxID(c, target)
			if err == nil && known == 0 {
				known, err = aliasID(c, target)
			}
			if err != nil {
				return err
			}
			if known == 0 {
				refuse(fmt.Errorf("target %s %w", target, directory.ErrNotFound))
				return nil
			}
		}
		id, err := aliasID(c, a.Address)
		if err != nil {
			return err
		}
		domain := int64(0)
		if id == 0 {
			if domain, err = freeAddress(c, a.Address, refuse); err != nil || domain == 0 {
				return err
			}
		}
		whole, err := tables.TargetsOf(c, id)
		if err != nil {
			return err
		}
		var outgrown *directory.OutgrownError
		err = directory.Outgrown(tables.Aliases{Conn: c}, directory.Alias{Address: a.Address, Targets: union(whole, a.Targets)})
		switch {
		case errors.As(err, &outgrown):
			refuse(err)
			return nil
		case err != nil:
			return err
		}
		if id == 0 {
			if _, id, err = c.Exec("INSERT INTO alias (domain, local) VALUES (?, ?)", domain, a.Address.Local); err != nil {
				return err
			}
		}
		for _, target := range a.Targets {
			if _, _, err := c.Exec("INSERT OR IGNORE INTO target (alias, local, domain) VALUES (?, ?, ?)",
				id, target.Local, target.Domain); err != nil {
				return err
			}
		}
		return nil
	})
}

// union returns the targets of a and b, each once.
func union(a, b []mail.Address) []mail.Address {
	all := append(slices.Clone(a), b...)
	slices.SortFunc(all, func(a, b mail.Address) int {
		return cmp.Or(strings.Compare(a.Domain, b.Domain), strings.Compare(a.Local, b.Local))
	})
	return slices.Compact(all)
}

// RemoveAlias implements directory.Directory.
func (s *Store) RemoveAlias(ctx context.Context, a directory.Alias) error {
	return s.edit(ctx, func(c *db.Conn, refuse func(error)) error {
		id, err := aliasID(c, a.Address)
		if err != nil {
			return err
		}
		if id == 0 {
			refuse(fmt.Errorf("alias %s %w", a.Address, directory.ErrNotFound))
			return nil
		}
		for _, target := range a.Targets {
			named, err := c.Number("SELECT count(*) FROM target WHERE alias = ? AND local = ? AND domain = ?",
				id, target.Local, target.Domain)
			if err != nil {
				return err
			}
			if named == 0 {
				refuse(fmt.Errorf("target %s of alias %s %w", target, a.Address, directory.ErrNotFound))
				return nil
			}
		}
		all, err := c.Number("SELECT count(*) FROM target WHERE alias = ?", id)
		if err != nil {
			return err
		}
		if len(a.Targets) > 0 && int64(len(a.Targets)) < all {
			for _, target := range a.Targets {
				if _, _, err := c.Exec("DELETE FROM target WHERE alias = ? AND local = ? AND domain = ?",
					id, target.Local, target.Domain); err != nil {
					return err
				}
			}
			return nil
		}
		uses, err := c.Number("SELECT count(*) FROM target WHERE local = ? AND domain = ?", a.Address.Local, a.Address.Domain)
		if err != nil {
			return err
		}
		if uses > 0 {
			refuse(fmt.Errorf("alias %s is %w as target of %d other aliases", a.Address, directory.ErrInUse, uses))
			return nil
		}
		_, _, err = c.Exec("DELETE FROM alias WHERE id = ?", id)
		return err
	})
}

func domainID(c *db.Conn, name string) (int64, error) {
	return c.Number("SELECT id FROM domain WHERE name = ?", name)
}

func mailboxID(c *db.Conn, a mail.Address) (int64, error) {
	return c.Number("SELECT m.id FROM mailbox m JOIN domain d ON d.id = m.domain WHERE d.name = ? AND m.local = ?", a.Domain, a.Local)
}

func aliasID(c *db.Conn, a mail.Address) (int64, error) {
	return c.Number("SELECT a.id FROM alias a JOIN domain d ON d.id = a.domain WHERE d.name = ? AND a.local = ?", a.Domain, a.Local)
}

func boolValue(b bool) driver.Value {
	if b {
		return int64(1)
	}
	return int64(0)
}
