package tables

import (
	"database/sql/driver"
	"errors"
	"time"

	"mailsrv/quota"
	"mailsrv/storage/sqlite/db"
)

// Deleted messages can be kept aside for a time, as rows of the table removed. They are
// outside the quota. The table kept counts them, with one row for each mailbox and one,
// mailbox 0, for all. A row of removed is gone if its id is not above the column gone in
// its mailbox's row of kept. So one update drops any number of messages, the oldest first,
// and collection deletes their rows later, in slices.

// Aside says what becomes of messages that are removed.
type Aside struct {
	At    time.Time     // when they are removed
	Keep  time.Duration // how long they can be brought back; 0: they are not kept
	Limit quota.Limit   // the mailbox's limit on what it has aside; a part that is not above 0 does not limit
	Total int64         // octets that all mailboxes together may have aside; 0: no limit
}

// Dropped is a message that was kept aside and was dropped to make room.
type Dropped struct {
	Mailbox       int64
	Local, Domain string // the mailbox's address; "": it has none
	UIDL          string // the UIDL that it had in its folder
	Octets        int64
}

// AsideOf reads what a mailbox may keep aside. server gives the limits that it inherits
// from the server. total is in octets, for all mailboxes together, and no mailbox keeps
// more than that; 0: no limit. A mailbox that does not exist keeps nothing.
func AsideOf(c *db.Conn, mailbox int64, server quota.Limit, total int64) (a Aside, err error) {
	row, err := c.First(`SELECT coalesce(keep_deleted, (SELECT keep_deleted FROM domain WHERE id = m.domain), 0),
    coalesce(limit_octets, (SELECT limit_octets FROM domain WHERE id = m.domain), ?2),
    coalesce(limit_messages, (SELECT limit_messages FROM domain WHERE id = m.domain), ?3)
FROM mailbox m WHERE id = ?1`, mailbox, max(server.Octets, 0), max(server.Messages, 0))
	if err != nil || row == nil {
		return a, err
	}
	a.Keep, a.Total = time.Duration(row[0].(int64))*time.Second, total
	a.Limit = quota.Limit{Octets: row[1].(int64), Messages: row[2].(int64)} // 0 has the same value as Inherit: no limit
	if a.Limit.Octets == 0 || total > 0 && total < a.Limit.Octets {
		a.Limit.Octets = total
	}
	return a, nil
}

// keptAside counts what a mailbox has just put aside. Then it drops the oldest messages
// above the limits, and returns them.
func keptAside(c *db.Conn, mailbox int64, put quota.Usage, a Aside) ([]Dropped, error) {
	if err := countAside(c, mailbox, put); err != nil {
		return nil, err
	}
	dropped, err := TrimAside(c, mailbox, a.Limit, MaxDropped)
	if err != nil {
		return nil, err
	}
	more, err := TrimTotal(c, a.Total, MaxDropped)
	return append(dropped, more...), err
}

// countAside adds more, which may be negative, to the counters of what a mailbox has aside
// and of the total.
func countAside(c *db.Conn, mailbox int64, more quota.Usage) error {
	for _, of := range []int64{mailbox, 0} {
		_, _, err := c.Exec(`INSERT INTO kept (mailbox, octets, messages, gone) VALUES (?1, ?2, ?3, 0)
ON CONFLICT (mailbox) DO UPDATE SET octets = octets + ?2, messages = messages + ?3`, of, more.Octets, more.Messages)
		if err != nil {
			return err
		}
	}
	if more.Messages >= 0 {
		return nil
	}
	_, _, err := c.Exec("DELETE FROM kept WHERE mailbox = ? AND messages = 0 AND gone = 0", mailbox)
	return err
}

// Kept returns what a mailbox has aside. Mailbox 0 stands for all together.
func Kept(c *db.Conn, mailbox int64) (quota.Usage, error) {
	row, err := c.First("SELECT octets, messages FROM kept WHERE mailbox = ?", mailbox)
	if err != nil || row == nil {
		return quota.Usage{}, err
	}
	return quota.Usage{Octets: row[0].(int64), Messages: row[1].(int64)}, nil
}

// Exceeded reports whether has is more than a.Limit.
func (a Aside) Exceeded(has quota.Usage) bool { return exceeds(has, a.Limit) }

// exceeds reports whether u is more than l allows. Parts of l that are not above 0 do not
// limit.
func exceeds(u quota.Usage, l quota.Limit) bool {
	return l.Octets > 0 && u.Octets > l.Octets || l.Messages > 0 && u.Messages > l.Messages
}

// MaxDropped is the most messages that one removal drops to make room aside. That takes
// some tens of milliseconds. If a limit was lowered by far there may be more to drop: the
// next removals do it, or a caller that drops in several transactions.
const MaxDropped = 10_000

// errEnough ends a query from inside [db.Conn.Each].
var errEnough = errors.New("enough")

// droppedColumns are the columns that scanDropped reads: of removed r, and of the mailbox m
// and its domain d if they exist.
const droppedColumns = "r.id, r.mailbox, r.octets, r.uidl, m.local, d.name FROM removed r LEFT JOIN mailbox m ON m.id = r.mailbox LEFT JOIN domain d ON d.id = m.domain"

func scanDropped(row []driver.Value) (id int64, one Dropped) {
	one = Dropped{Mailbox: row[1].(int64), Octets: row[2].(int64), UIDL: row[3].(string)}
	one.Local, _ = row[4].(string)
	one.Domain, _ = row[5].(string)
	return row[0].(int64), one
}

// TrimAside drops the oldest messages that a mailbox has aside until the rest is within the
// limit, which [AsideOf] returns, but at most most of them. It returns what it dropped.
func TrimAside(c *db.Conn, mailbox int64, limit quota.Limit, most int) (dropped []Dropped, err error) {
	has, err := Kept(c, mailbox)
	if err != nil || !exceeds(has, limit) {
		return nil, err
	}
	last := int64(0)
	err = c.Each("SELECT "+droppedColumns+" WHERE r.mailbox = ? AND r.id > coalesce((SELECT gone FROM kept WHERE mailbox = r.mailbox), 0) ORDER BY r.id", func(row []driver.Value) error {
		if !exceeds(has, limit) || len(dropped) >= most {
			return errEnough
		}
		id, one := scanDropped(row)
		last = id
		dropped = append(dropped, one)
		has = has.Add(quota.Usage{Octets: -one.Octets, Messages: -1})
		return nil
	}, mailbox)
	if err != nil && !errors.Is(err, errEnough) || last == 0 {
		return nil, ended(err)
	}
	return dropped, gone(c, mailbox, last, dropped)
}

// ended returns err, or nil if err is errEnough.
func ended(err error) error {
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// gone marks the rows of removed of a mailbox as gone, up to the id last, and subtracts
// the dropped messages from the counters.
func gone(c *db.Conn, mailbox, last int64, dropped []Dropped) error {
	var less quota.Usage
	for _, one := range dropped {
		less = less.Add(quota.Usage{Octets: -one.Octets, Messages: -1})
	}
	if _, _, err := c.Exec("UPDATE kept SET gone = ?2 WHERE mailbox = ?1", mailbox, last); err != nil {
		return err
	}
	return countAside(c, mailbox, less)
}

// TrimTotal drops the oldest messages of all mailboxes until those that are aside have at
// most limit octets, but at most most messages. It returns what it dropped. A limit of 0
// is none.
func TrimTotal(c *db.Conn, limit int64, most int) ([]Dropped, error) {
	all, err := Kept(c, 0)
	if err != nil || !exceeds(all, quota.Limit{Octets: limit}) {
		return nil, err
	}
	return DropOldest(c, func(dropped quota.Usage) bool {
		return all.Octets-dropped.Octets <= limit || dropped.Messages >= int64(most)
	})
}

// DropOldest drops messages that are aside, of any mailbox and the oldest first, until
// enough returns true for what was dropped so far. It returns what it dropped.
func DropOldest(c *db.Conn, enough func(dropped quota.Usage) bool) (dropped []Dropped, err error) {
	var sum quota.Usage
	of, lasts := map[int64][]Dropped{}, map[int64]int64{} // by mailbox
	last := int64(0)
	// All rows up to the gone of mailbox 0 are gone, so that no row is skipped twice.
	err = c.Each("SELECT "+droppedColumns+` LEFT JOIN kept k ON k.mailbox = r.mailbox
WHERE r.id > (SELECT gone FROM kept WHERE mailbox = 0) AND r.id > coalesce(k.gone, 0) ORDER BY r.id`, func(row []driver.Value) error {
		if enough(sum) {
			return errEnough
		}
		id, one := scanDropped(row)
		last, lasts[one.Mailbox] = id, id
		of[one.Mailbox] = append(of[one.Mailbox], one)
		dropped = append(dropped, one)
		sum = sum.Add(quota.Usage{Octets: one.Octets, Messages: 1})
		return nil
	})
	if ended(err) != nil {
		return nil, err
	}
	for mailbox, some := range of {
		if err := gone(c, mailbox, lasts[mailbox], some); err != nil {
			return nil, err
		}
	}
	if last > 0 {
		_, _, err = c.Exec("UPDATE kept SET gone = ? WHERE mailbox = 0", last)
	}
	return dropped, ended(err)
}

// DropAside drops all that a mailbox has aside.
func DropAside(c *db.Conn, mailbox int64) error {
	has, err := Kept(c, mailbox)
	if err != nil || has.Messages == 0 {
		return err
	}
	_, _, err = c.Exec("UPDATE kept SET gone = coalesce((SELECT max(id) FROM removed WHERE mailbox = ?1), gone) WHERE mailbox = ?1", mailbox)
	if err != nil {
		return err
	}
	return countAside(c, mailbox, quota.Usage{Octets: -has.Octets, Messages: -has.Messages})
}

// BroughtBack subtracts u, which was brought back, from what a mailbox has aside. The
// caller has deleted the rows of removed, none of which was gone.
func BroughtBack(c *db.Conn, mailbox int64, u quota.Usage) error {
	return countAside(c, mailbox, quota.Usage{Octets: -u.Octets, Messages: -u.Messages})
}

// ForgetDue deletes at most most rows of removed whose time is over at now, in Unix
// seconds, those due longest first. It returns what it deleted, gone rows included.
func ForgetDue(c *db.Conn, now, most int64) (quota.Usage, error) {
	return forget(c, "SELECT id FROM removed WHERE until <= ? ORDER BY until LIMIT ?", now, most)
}

// forgetGone deletes at most most rows of removed that are gone. If it returns no messages
// there are no such rows.
func forgetGone(c *db.Conn, most int64) (forgotten quota.Usage, err error) {
	for {
		row, err := c.First("SELECT mailbox, gone FROM kept WHERE gone > 0 AND mailbox > 0 LIMIT 1")
		if err != nil || row == nil {
			return quota.Usage{}, err
		}
		mailbox, upTo := row[0].(int64), row[1].(int64)
		forgotten, err = forget(c, "SELECT id FROM removed WHERE mailbox = ? AND id <= ? ORDER BY id LIMIT ?", mailbox, upTo, most)
		if err != nil || forgotten.Messages > 0 {
			return forgotten, err
		}
		if _, _, err = c.Exec("UPDATE kept SET gone = 0 WHERE mailbox = ?", mailbox); err == nil {
			_, _, err = c.Exec("DELETE FROM kept WHERE mailbox = ? AND messages = 0", mailbox)
		}
		if err != nil {
			return quota.Usage{}, err
		}
	}
}

// forget deletes the rows of removed whose ids the query which selects, along an index. It
// makes garbage of their bodies, and subtracts the rows that were not gone from the
// counters.
func forget(c *db.Conn, which string, args ...driver.Value) (forgotten quota.Usage, err error) {
	where := " FROM removed WHERE id IN (" + which + ")"
	row, err := c.First("SELECT count(*), coalesce(sum(octets), 0), coalesce(sum(shared), 0)"+where, args...)
	if err != nil {
		return quota.Usage{}, err
	}
	forgotten = quota.Usage{Messages: row[0].(int64), Octets: row[1].(int64)}
	if forgotten.Messages == 0 {
		return forgotten, nil
	}
	if err := discardBodies(c, row[2].(int64) > 0, where, args...); err != nil {
		return quota.Usage{}, err
	}
	less := map[int64]quota.Usage{} // by mailbox
	err = c.Each("SELECT mailbox, -sum(octets), -count(*)"+where+" AND id > coalesce((SELECT gone FROM kept WHERE mailbox = removed.mailbox), 0) GROUP BY mailbox", func(row []driver.Value) error {
		less[row[0].(int64)] = quota.Usage{Octets: row[1].(int64), Messages: row[2].(int64)}
		return nil
	}, args...)
	if err != nil {
		return quota.Usage{}, err
	}
	for mailbox, u := range less {
		if err := countAside(c, mailbox, u); err != nil {
			return quota.Usage{}, err
		}
	}
	_, _, err = c.Exec("DELETE"+where, args...)
	return forgotten, err
}
