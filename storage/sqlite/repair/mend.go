package repair

import (
	"database/sql/driver"

	"mailsrv/storage/sqlite/db"
	"mailsrv/storage/sqlite/tables"
)

// addNumbers adds the lost row of store again. Its last validity is the highest known one,
// or the highest that may have been given: a restore gives a new one to each folder at once.
func addNumbers(c *db.Conn) error {
	_, _, err := c.Exec(`INSERT INTO store (id, least, validity, noted, seen, pause)
SELECT 1, ?, max(coalesce((SELECT max(validity) FROM folder), 0), unixepoch() + (SELECT count(*) FROM mailbox)), 0, 0, 0`, tables.Current.Least())
	return err
}

// mendInboxes gives each mailbox its INBOX back. That is its folder of this name, or else,
// if only the row of folder was lost, a new row with the id that the mailbox names, so
// that the mail stays. Otherwise it gets a new, empty INBOX.
func mendInboxes(c *db.Conn) error {
	type lost struct {
		mailbox, inbox int64
		found          driver.Value // the id of its folder named INBOX; nil: it has none
		free           bool         // no folder and no other mailbox has the id inbox
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

// wrongEntry is an entry that disagrees with its body or folder.
type wrongEntry struct {
	tables.Place
	id, uid, body, right int64 // right: the octets of its parts together
}

// eachWrong calls f with the compacted entries that the condition which finds. In it e is
// the entry and f its folder.
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

// addAnew replaces an entry by one with a new uid, the same UIDL, and the size of its parts:
// the message of a uid must never change (RFC 9051 section 2.3.1.1). The counters are
// recounted later. If the folder has given its last uid, the entry stays as it is.
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
	// Removing the old entry must not free the body.
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
