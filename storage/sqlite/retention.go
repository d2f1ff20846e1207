package sqlite

import (
	"context"
	"database/sql/driver"
	"time"

	"mailsrv/internal/mail"
	"mailsrv/quota"
	"mailsrv/storage"
	"mailsrv/storage/sqlite/commit"
	"mailsrv/storage/sqlite/db"
	"mailsrv/storage/sqlite/tables"
)

// perSlice is the number of messages that one transaction of this file moves. It is small,
// so that no delivery waits long for it.
const perSlice = 100

// perUndelete is the number of messages that one transaction brings back.
const perUndelete = 200

// Undelete implements storage.Undeleter. It looks for the messages outside the transactions
// that bring them back.
func (s *Store) Undelete(ctx context.Context, id mail.MailboxID, since time.Time, limit quota.Limit, newID func() string) (restored, left quota.Usage, err error) {
	for after, full := int64(0), false; !full; {
		var ids []int64
		if ids, err = s.asideSince(ctx, id, since, after); err != nil {
			return restored, left, err
		}
		if len(ids) == 0 && after > 0 {
			break
		}
		var part quota.Usage
		part, full, err = s.undeleteSome(ctx, int64(id), ids, limit, newID)
		if restored = restored.Add(part); err != nil {
			return restored, left, err
		}
		if len(ids) < perUndelete {
			break
		}
		after = ids[len(ids)-1]
	}
	err = s.readers.Use(ctx, func(c *db.Conn) error {
		row, err := c.First("SELECT count(*), coalesce(sum(octets), 0) FROM removed WHERE mailbox = ?1 AND at >= ?2 AND id > "+goneOf, int64(id), since.Unix())
		if err == nil {
			left = quota.Usage{Messages: row[0].(int64), Octets: row[1].(int64)}
		}
		return err
	})
	return restored, left, err
}

// goneOf is SQL for the id up to which rows of removed of the mailbox ?1 are gone.
const goneOf = "coalesce((SELECT gone FROM kept WHERE mailbox = ?1), 0)"

// asideSince returns the ids of the next rows of removed, above after, that were put aside at
// since or later.
func (s *Store) asideSince(ctx context.Context, id mail.MailboxID, since time.Time, after int64) ([]int64, error) {
	return db.All(ctx, s.readers, func(row []driver.Value) int64 { return row[0].(int64) },
		"SELECT id FROM removed WHERE mailbox = ?1 AND id > max(?2, "+goneOf+") AND at >= ?3 ORDER BY id LIMIT ?4",
		int64(id), after, since.Unix(), int64(perUndelete))
}

// aside is a row of removed. folder is 0 if its folder does not exist any more.
type aside struct{ id, octets, folder int64 }

// undeleteSome brings back the rows of removed with these ids, unless they are gone
// meanwhile. full reports that one did not fit.
func (s *Store) undeleteSome(ctx context.Context, mailbox int64, ids []int64, limit quota.Limit, newID func() string) (restored quota.Usage, full bool, err error) {
	err = s.edit(ctx, func(c *db.Conn, refuse func(error)) error {
		restored, full = quota.Usage{}, false
		known, err := c.Number("SELECT count(*) FROM mailbox WHERE id = ?", mailbox)
		if err != nil {
			return err
		}
		if known == 0 {
			refuse(storage.ErrNoMaildrop)
			return nil
		}
		compacted := map[int64]bool{} // folders
		for _, id := range ids {
			row, err := c.First(`SELECT octets, coalesce((SELECT id FROM folder WHERE id = r.folder AND mailbox = r.mailbox), 0)
FROM removed r WHERE mailbox = ?1 AND id = ?2 AND id > `+goneOf, mailbox, id)
			if err != nil {
				return err
			}
			if row == nil {
				continue
			}
			r := aside{id, row[0].(int64), row[1].(int64)}
			to := storage.Recipient{Mailbox: mail.MailboxID(mailbox), Folder: storage.FolderID(r.folder)}
			now, ok, err := countIn(c, to, r.octets, limit)
			if err != nil {
				return err
			}
			if !ok {
				full = true
				break
			}
			if !compacted[now.folder] { // its arrivals have lower uids
				if _, err := tables.CompactFolder(c, now.folder); err != nil {
					return err
				}
				compacted[now.folder] = true
			}
			if err := bringBack(c, r, now, newID()); err != nil {
				return err
			}
			restored = restored.Add(quota.Usage{Octets: r.octets, Messages: 1})
		}
		return tables.BroughtBack(c, mailbox, restored)
	})
	return restored, full, err
}

// bringBack makes an entry of a row of removed that was counted in. It writes to entry and
// not to arrival, since it is one of many for the same folder, which share pages.
func bringBack(c *db.Conn, r aside, to room, uidl string) error {
	_, _, err := c.Exec(`INSERT INTO entry (`+tables.EntryColumns+`)
SELECT ?2, octets, body, shared, ?3, own, arrived, flags, ?4 FROM removed WHERE id = ?1`,
		r.id, tables.EntryID(to.folder, to.uid), uidl, to.modseq)
	if err != nil {
		return err
	}
	_, _, err = c.Exec("DELETE FROM removed WHERE id = ?", r.id)
	return err
}

// Collect implements storage.Collector.
func (s *Store) Collect(ctx context.Context, now time.Time, report func(storage.Expired)) error {
	type due struct {
		tables.Place
		before int64
	}
	list, err := db.All(ctx, s.readers, func(row []driver.Value) due {
		return due{tables.Place{Mailbox: row[0].(int64), Folder: row[1].(int64), Inbox: row[1].(int64)}, now.Unix() - row[2].(int64)}
	}, `SELECT id, inbox, coalesce(keep_retrieved, (SELECT keep_retrieved FROM domain WHERE id = m.domain)) AS keep
FROM mailbox m WHERE keep > 0`)
	if err != nil {
		return err
	}
	for _, d := range list {
		for more := true; more; {
			var gone []storage.Entry
			if gone, more, err = s.expireSome(ctx, d.Place, d.before); err != nil {
				return err
			}
			for _, e := range gone {
				report(storage.Expired{Mailbox: mail.MailboxID(d.Mailbox), Entry: e})
			}
		}
	}
	for more := true; more; {
		if more, err = s.forgetSome(ctx, now.Unix()); err != nil {
			return err
		}
	}
	if err := s.boundAside(ctx, "true"); err != nil {
		return err
	}
	s.upkeep.addGarbage(quota.Usage{})
	return nil
}

// expireSome removes some messages of an INBOX that were retrieved before a time, in Unix
// seconds. more reports that there may be more of them.
func (s *Store) expireSome(ctx context.Context, from tables.Place, before int64) (gone []storage.Entry, more bool, err error) {
	var removed tables.Expunged
	expire := &commit.Change{Effect: commit.Effect{Kind: commit.Remove}}
	expire.Apply = func(c *db.Conn) error {
		gone = nil
		var runs [][2]int64
		err := c.Each("SELECT uid, octets, uidl FROM entry WHERE folder = ? AND retrieved <= ? ORDER BY retrieved LIMIT ?", func(row []driver.Value) error {
			uid := row[0].(int64)
			runs = append(runs, [2]int64{uid, uid})
			gone = append(gone, storage.Entry{UID: storage.UID(uid), Octets: row[1].(int64), UIDL: row[2].(string)})
			return nil
		}, from.Folder, before, int64(perSlice))
		if err != nil {
			return err
		}
		removed, err = tables.Expunge(c, from, runs, tables.Aside{})
		return err
	}
	expire.Committed = func() { s.cache.count(removed.Counted...) }
	err = s.engine.Do(ctx, expire)
	return gone, len(gone) == perSlice, err
}

// forgetSome drops some deleted messages whose time to be brought back is over at now, in
// Unix seconds. more reports that there may be more of them.
func (s *Store) forgetSome(ctx context.Context, now int64) (more bool, err error) {
	var forgotten quota.Usage
	drop := &commit.Change{Effect: commit.Effect{Kind: commit.Remove}}
	drop.Apply = func(c *db.Conn) (err error) {
		forgotten, err = tables.ForgetDue(c, now, perSlice)
		return err
	}
	if err = s.engine.Do(ctx, drop); err == nil {
		s.upkeep.addGarbage(forgotten)
	}
	return forgotten.Messages == perSlice, err
}
