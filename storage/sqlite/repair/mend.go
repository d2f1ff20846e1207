package repair

import (
	"database/sql/driver"

	"mailsrv/storage/sqlite/db"
	"mailsrv/storage/sqlite/tables"
)

// addNumbers makes the row of store again. The validity given last is one that is known,
// or that may have been reached: a restore gives one to each folder at once.
func addNumbers(c *db.Conn) error {
	_, _, err := c.Exec(`INSERT INTO store (id, least, validity)
SELECT 1, ?, max(coalesce((SELECT max(validity) FROM folder), 0), unixepoch() + (SELECT count(*) FROM mailbox))`, tables.Current.Least())
	return err
}

// mendInboxes gives each mailbox its INBOX back: the folder of that name, or the one
// that the mailbox says is it, where only the folder's own row was lost, so that its
// mail stays.
func mendInboxes(c *db.Conn) error {
	type lost struct {
		mailbox, inbox int64
		found          driver.Value // its folder of that name
		free           bool         // inbox is no folder, nor another mailbox's
	}
	var all []lost
	err := c.Each(`SELECT id, inbox, (SELECT id FROM folder WHERE mailbox = m.id AND name = 'INBOX'),
    inbox BETWEEN 1 AND ? AND inbox NOT IN (SELECT id FROM folder) AND inbox NOT IN (SELECT inbox FROM mailbox GROUP BY inbox HAVING count(*) > 1)
FROM `+noInbox, func(row []driver.Value) error {
		all = append(all, lost{row[0].(int64), row[1].(int64), row[2], row[3].(int64) == 1})
		return nil
	}, int64(tables.MaxFolder))
	for _, l := range all {
		if err != nil {
			return err
		}
		switch {
		case l.found != nil:
			_, _, err = c.Exec("UPDATE mailbox SET inbox = ?2 WHERE id = ?1", l.mailbox, l.found)
		case l.free:
			_, _, err = c.Exec("INSERT INTO folder (id, mailbox, name, validity, created) VALUES (?, ?, ?, 0, unixepoch())", l.inbox, l.mailbox, tables.Inbox)
		default:
			err = tables.NewInbox(c, l.mailbox)
		}
	}
	return err
}

// wrongEntry is an entry that disagrees with what it refers to.
type wrongEntry struct {
	tables.Place
	id, uid, body, right int64 // right: the octets that its parts have
}

// eachWrong calls f with the compacted entries e, in folders f, that a condition finds.
func eachWrong(c *db.Conn, which string, f func(*db.Conn, wrongEntry) error) error {
	var all []wrongEntry
	err := c.Each(`SELECT f.mailbox, e.folder, coalesce((SELECT inbox FROM mailbox WHERE id = f.mailbox), 0), e.id, e.uid, e.body,
    coalesce((SELECT `+rightSize+` FROM body b WHERE b.id = e.body), 0)
FROM entry `+which+` ORDER BY e.id`, func(row []driver.Value) error {
		all = append(all, wrongEntry{
			tables.Place{Mailbox: row[0].(int64), Folder: row[1].(int64), Inbox: row[2].(int64)}, row[3].(int64), row[4].(int64), row[5].(int64), row[6].(int64),
		})
		return nil
	})
	for _, e := range all {
		if err == nil {
			err = f(c, e)
		}
	}
	return err
}

// remove removes an entry.
func remove(c *db.Conn, e wrongEntry) error {
	_, err := tables.Expunge(c, e.Place, [][2]int64{{e.uid, e.uid}}, tables.Aside{})
	return err
}

// addAnew adds an entry anew, under a new uid and the same UIDL, with the size that its
// parts have: what a uid once stood for never changes (RFC 9051 section 2.3.1.1). The
// counters are recounted later. In a folder that has given its last uid it stays.
func addAnew(c *db.Conn, e wrongEntry) error {
	row, err := c.First("UPDATE tally SET last = last + 1, modseq = modseq + 1 WHERE folder = ? AND last < 4294967295 RETURNING last, modseq", e.Folder)
	if err != nil || row == nil {
		return err
	}
	_, _, err = c.Exec(`INSERT INTO entry (`+tables.EntryColumns+`, retrieved)
SELECT ?2, ?3, body, shared, uidl, own, arrived, flags, ?4, retrieved FROM entry WHERE id = ?1`, e.id, tables.EntryID(e.Folder, row[0].(int64)), e.right, row[1].(int64))
	if err != nil {
		return err
	}
	// The old one must not take the body along.
	if _, _, err := c.Exec("UPDATE share SET refs = refs + 1 WHERE body = ?", e.body); err != nil {
		return err
	}
	removed, err := tables.Expunge(c, e.Place, [][2]int64{{e.uid, e.uid}}, tables.Aside{})
	if err != nil {
		return err
	}
	if _, _, err := c.Exec("DELETE FROM garbage WHERE body = ?", e.body); err != nil {
		return err
	}
	if _, _, err := c.Exec("UPDATE tally SET octets = octets + ?2, messages = messages + ?3 WHERE folder = ?1", e.Folder, removed.Octets, removed.Messages); err != nil {
		return err
	}
	_, _, err = c.Exec("UPDATE tally SET all_octets = all_octets + ?2, all_messages = all_messages + ?3 WHERE folder = ?1", e.Inbox, removed.Octets, removed.Messages)
	return err
}
