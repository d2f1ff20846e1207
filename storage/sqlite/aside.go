package sqlite

import (
	"context"
	"database/sql/driver"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"mailsrv/internal/logs"
	"mailsrv/internal/mail"
	"mailsrv/quota"
	"mailsrv/storage"
	"mailsrv/storage/sqlite/commit"
	"mailsrv/storage/sqlite/db"
	"mailsrv/storage/sqlite/tables"
)

// asideBounds are the bounds of what is kept aside that are not in the database.
type asideBounds struct {
	server quota.Limit // for mailboxes that inherit it
	total  int64       // octets
}

// KeepAside sets the bounds of what is kept aside from now on. server is the limit that
// mailboxes inherit. total is how many octets all mailboxes together may have aside, and
// also each mailbox that has no limit of its own; 0: a tenth of the disk. What is above the
// bounds is dropped by the next [Store.Collect], or when more is put aside.
func (s *Store) KeepAside(server quota.Limit, total int64) {
	var fs unix.Statfs_t
	if total <= 0 && unix.Statfs(filepath.Dir(s.path), &fs) == nil {
		total = int64(fs.Blocks) * fs.Bsize / 10
	}
	s.aside.Store(&asideBounds{server, total})
}

// asideOf reads what a mailbox may keep aside.
func (s *Store) asideOf(c *db.Conn, mailbox int64) (tables.Aside, error) {
	b := s.aside.Load()
	return tables.AsideOf(c, mailbox, b.server, b.total)
}

// dropOff drops all that mailboxes have aside if their retention of deleted mail is off.
// which is a condition on rows of mailbox.
func (s *Store) dropOff(c *db.Conn, which string, arg driver.Value) error {
	var all []int64
	err := c.Each("SELECT mailbox FROM kept WHERE messages > 0 AND mailbox IN (SELECT id FROM mailbox WHERE "+which+")", func(row []driver.Value) error {
		all = append(all, row[0].(int64))
		return nil
	}, arg)
	for _, mailbox := range all {
		var a tables.Aside
		if err == nil {
			a, err = s.asideOf(c, mailbox)
		}
		if err == nil && a.Keep == 0 {
			err = tables.DropAside(c, mailbox)
		}
	}
	return err
}

// boundAside drops what mailboxes have aside above their limits, and what all have above the
// total, in several transactions. which is a condition on rows of mailbox.
func (s *Store) boundAside(ctx context.Context, which string, args ...driver.Value) error {
	all, err := db.All(ctx, s.readers, func(row []driver.Value) int64 { return row[0].(int64) },
		"SELECT mailbox FROM kept WHERE messages > 0 AND mailbox IN (SELECT id FROM mailbox WHERE "+which+")", args...)
	if err != nil {
		return err
	}
	for _, mailbox := range all {
		over := false
		err := s.readers.Use(ctx, func(c *db.Conn) error {
			a, err := s.asideOf(c, mailbox)
			if err != nil {
				return err
			}
			has, err := tables.Kept(c, mailbox)
			over = has.Messages > 0 && (a.Keep == 0 || a.Exceeded(has))
			return err
		})
		if err == nil && over {
			err = s.drop(ctx, func(c *db.Conn) ([]tables.Dropped, error) {
				a, err := s.asideOf(c, mailbox)
				if err != nil {
					return nil, err
				}
				if a.Keep == 0 {
					return nil, tables.DropAside(c, mailbox)
				}
				return tables.TrimAside(c, mailbox, a.Limit, perSlice)
			})
		}
		if err != nil {
			return err
		}
	}
	total := s.aside.Load().total
	has := quota.Usage{}
	err = s.readers.Use(ctx, func(c *db.Conn) (err error) { has, err = tables.Kept(c, 0); return err })
	if err != nil || total <= 0 || has.Octets <= total {
		return err
	}
	return s.drop(ctx, func(c *db.Conn) ([]tables.Dropped, error) { return tables.TrimTotal(c, total, perSlice) })
}

// boundLater logs why boundAside failed. The change before it is committed nevertheless, and
// the next Collect goes on.
func (s *Store) boundLater(err error) {
	if err != nil {
		s.logger.Warn(logs.Storage, logs.Reason, "what is aside was not brought within its new bounds; this is tried again within the hour", logs.Error, err)
	}
}

// drop commits what f drops of what is aside, again and again until f drops nothing, and
// logs it.
func (s *Store) drop(ctx context.Context, f func(*db.Conn) ([]tables.Dropped, error)) error {
	for {
		var dropped []tables.Dropped
		change := &commit.Change{Effect: commit.Effect{Kind: commit.Remove}}
		change.Apply = func(c *db.Conn) (err error) {
			dropped, err = f(c)
			return err
		}
		if err := s.engine.Do(ctx, change); err != nil || len(dropped) == 0 {
			return err
		}
		s.tellDropped(dropped)
	}
}

// tellDropped logs the messages that were dropped to make room, and has them freed.
func (s *Store) tellDropped(dropped []tables.Dropped) {
	if len(dropped) == 0 {
		return
	}
	var sum quota.Usage
	for _, one := range dropped {
		sum = sum.Add(quota.Usage{Octets: one.Octets, Messages: 1})
	}
	s.upkeep.addGarbage(sum)
	slices.SortStableFunc(dropped, func(a, b tables.Dropped) int { return int(a.Mailbox - b.Mailbox) })
	const perLine = 32
	for len(dropped) > 0 {
		of, octets := dropped[0], int64(0)
		var ids []string
		for len(dropped) > 0 && dropped[0].Mailbox == of.Mailbox && len(ids) < perLine {
			ids = append(ids, dropped[0].UIDL)
			octets += dropped[0].Octets
			dropped = dropped[1:]
		}
		name := strconv.FormatInt(of.Mailbox, 10)
		if of.Domain != "" {
			name = mail.Address{Local: of.Local, Domain: of.Domain}.String()
		}
		s.logger.Info(logs.Expunged, logs.Mailbox, name, logs.Messages, len(ids), logs.Octets, octets,
			logs.ID, strings.Join(ids, " "), logs.Reason, "deleted before, and kept aside no longer: others needed the room")
	}
}

// Aside implements storage.Undeleter.
func (s *Store) Aside(ctx context.Context, of mail.MailboxID) (map[mail.MailboxID]quota.Usage, error) {
	all := map[mail.MailboxID]quota.Usage{}
	err := s.readers.Use(ctx, func(c *db.Conn) error {
		return c.Each("SELECT mailbox, octets, messages FROM kept WHERE messages > 0 AND mailbox > 0 AND (?1 = 0 OR mailbox = ?1)", func(row []driver.Value) error {
			all[mail.MailboxID(row[0].(int64))] = quota.Usage{Octets: row[1].(int64), Messages: row[2].(int64)}
			return nil
		}, int64(of))
	})
	return all, err
}

var _ storage.Undeleter = (*Store)(nil)
