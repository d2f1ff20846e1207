package tables

import (
	"database/sql/driver"
	"errors"
	"time"

	"mailsrv/quota"
	"mailsrv/storage/sqlite/db"
)

// What is deleted can be kept aside for a time: rows of removed, outside the quota and
// counted in kept, a row a mailbox and one for all. A row of removed is gone once its id
// is not above the gone of its mailbox: so any number goes at once, the oldest first, and
// collection takes them away in slices.

// Aside says what becomes of that which is removed at a time.
type Aside struct {
	At    time.Time
	Keep  time.Duration // for which it can be brought back; 0: it cannot
	Limit quota.Limit   // of what the mailbox has aside, in force; what is Inherit does not limit
	Total int64         // octets that all mailboxes may have aside; 0: no limit
}

// Dropped is a message that was aside and had to make room.
type Dropped struct {
	Mailbox       int64
	Local, Domain string // the mailbox's address; "": it has none
	UIDL          string // that it had in its folder
	Octets        int64
}

// AsideOf reads what a mailbox may keep aside, where server fills what is inherited and
// total is for all: no mailbox keeps more than that. A mailbox that is not there keeps
// nothing.
func AsideOf(c *db.Conn, mailbox int64, server quota.Limit, total int64) (a Aside, err error) {
	row, err := c.First(`SELECT coalesce(keep_deleted, (SELECT keep_deleted FROM domain WHERE id = m.domain), 0),
    coalesce(limit_octets, (SELECT limit_octets FROM domain WHERE id = m.domain), ?2),
    coalesce(limit_messages, (SELECT limit_messages FROM domain WHERE id = m.domain), ?3)
FROM mailbox m WHERE id = ?1`, mailbox, max(server.Octets, 0), max(server.Messages, 0))
	if err != nil || row == nil {
		return a, err
	}
	a.Keep, a.Total = time.Duration(row[0].(int64))*time.Second, total
	a.Limit = quota.Limit{Octets: row[1].(int64), Messages: row[2].(int64)} // 0 is no limit, which Inherit is too
	if a.Limit.Octets == 0 || total > 0 && total < a.Limit.Octets {
		a.Limit.Octets = total
	}
	return a, nil
}

// keptAside counts what was put aside of a mailbox, and takes the oldest away of what is
// too much now.
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

// countAside adds to what a mailbox has aside, and to the total.
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

// Kept is what a mailbox has aside; 0: what all have.
func Kept(c *db.Conn, mailbox int64) (quota.Usage, error) {
	row, err := c.First("SELECT octets, messages FROM kept WHERE mailbox = ?", mailbox)
	if err != nil || row == nil {
		return quota.Usage{}, err
	}
	return quota.Usage{Octets: row[0].(int64), Messages: row[1].(int64)}, nil
}

// Exceeded reports whether a mailbox that has so much aside has more than its limit.
func (a Aside) Exceeded(has quota.Usage) bool { return exceeds(has, a.Limit) }

// exceeds reports whether u is more than l allows, whose parts limit where they are above
// 0.
func exceeds(u quota.Usage, l quota.Limit) bool {
	return l.Octets > 0 && u.Octets > l.Octets || l.Messages > 0 && u.Messages > l.Messages
}

// MaxDropped is how many messages a removal makes go to have room aside: as many as take
// it some tens of milliseconds. What is still too much then, since a limit was lowered by
// far, goes with the next ones, or by who drops in pieces.
const MaxDropped = 10_000

// errEnough ends a walk.
var errEnough = errors.New("enough")

// droppedColumns are what scanDropped reads of removed r, with the mailbox m and its
// domain d where they are there.
const droppedColumns = "r.id, r.mailbox, r.octets, r.uidl, m.local, d.name FROM removed r LEFT JOIN mailbox m ON m.id = r.mailbox LEFT JOIN domain d ON d.id = m.domain"

func scanDropped(row []driver.Value) (id int64, one Dropped) {
	one = Dropped{Mailbox: row[1].(int64), Octets: row[2].(int64), UIDL: row[3].(string)}
	one.Local, _ = row[4].(string)
	one.Domain, _ = row[5].(string)
	return row[0].(int64), one
}

// TrimAside takes the oldest away of what a mailbox has aside above a limit, as AsideOf
// reads it; no more messages than most.
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

// ended is err, and nil where a walk was ended.
func ended(err error) error {
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// gone counts out what was dropped of a mailbox, up to an id.
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

// TrimTotal takes the oldest away of what all mailboxes have aside above a number of
// octets, 0 being no limit; no more messages than most.
func TrimTotal(c *db.Conn, limit int64, most int) ([]Dropped, error) {
	all, err := Kept(c, 0)
	if err != nil || !exceeds(all, quota.Limit{Octets: limit}) {
		return nil, err
	}
	return DropOldest(c, func(dropped quota.Usage) bool {
		return all.Octets-dropped.Octets <= limit || dropped.Messages >= int64(most)
	})
}

// DropOldest takes what is aside away, of whatever mailbox and the oldest first, until
// enough says so of what was dropped.
func DropOldest(c *db.Conn, enough func(dropped quota.Usage) bool) (dropped []Dropped, err error) {
	var sum quota.Usage
	of, lasts := map[int64][]Dropped{}, map[int64]int64{} // by mailbox
	last := int64(0)
	// All rows up to the gone of the total are gone: each is passed over once.
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

// DropAside takes away all that a mailbox has aside.
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

// BroughtBack counts out what was brought back of a mailbox, whose rows of removed were
// deleted and not gone.
func BroughtBack(c *db.Conn, mailbox int64, u quota.Usage) error {
	return countAside(c, mailbox, quota.Usage{Octets: -u.Octets, Messages: -u.Messages})
}

// ForgetDue deletes rows of removed whose time is over, those first that have been due
// longest and at most the given number, and returns what they were.
func ForgetDue(c *db.Conn, now, most int64) (quota.Usage, error) {
	return forget(c, "SELECT id FROM removed WHERE until <= ? ORDER BY until LIMIT ?", now, most)
}

// forgetGone deletes some rows of removed that are gone; none: there are none.
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

// forget deletes the rows of removed that which selects, by ids along an index, and
// makes garbage of their bodies. Those that were not gone are counted out.
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
