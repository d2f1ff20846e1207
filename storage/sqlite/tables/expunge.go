package tables

import (
	"database/sql/driver"
	"strconv"
	"time"

	"mailsrv/quota"
	"mailsrv/storage/sqlite/db"
)

// Expunged is what a removal did.
type Expunged struct {
	quota.Usage
	Counted []Counters // as they are now
	Dropped []Dropped  // what had to make room of what was aside before
}

// Expunge removes runs of compacted messages from a folder. It is the one way out:
// whatever removes a message goes through here. It counts the folder's modseq and
// notes it as that of the last removal, so that who knows the folder from before can
// learn of it, and takes what goes out of the counters, which it returns. The bodies
// go along where it is put aside; otherwise those become garbage that nobody else needs.
// What is aside stays within its bounds.
func Expunge(c *db.Conn, from Place, runs [][2]int64, aside Aside) (removed Expunged, err error) {
	for _, some := range selections(from.Folder, runs) {
		if aside.Keep > 0 {
			if err := putAside(c, from, some, aside); err != nil {
				return removed, err
			}
		}
		u, err := expungeSome(c, some, aside.Keep > 0)
		if err != nil {
			return removed, err
		}
		removed.Usage = removed.Usage.Add(u)
	}
	if removed.Messages == 0 {
		return removed, nil
	}
	if aside.Keep > 0 {
		if removed.Dropped, err = keptAside(c, from.Mailbox, removed.Usage, aside); err != nil {
			return removed, err
		}
	}
	const less = "octets = octets - ?2, messages = messages - ?3, modseq = modseq + 1, expunged = modseq + 1"
	const allLess = "all_octets = all_octets - ?2, all_messages = all_messages - ?3"
	query := "UPDATE tally SET " + less + ", " + allLess + " WHERE folder = ?1 RETURNING " + CounterColumns
	if from.Folder != from.Inbox {
		_, _, err := c.Exec("UPDATE tally SET "+less+" WHERE folder = ?1", from.Folder, removed.Octets, removed.Messages)
		if err != nil {
			return removed, err
		}
		query = "UPDATE tally SET " + allLess + " WHERE folder = ?1 RETURNING " + CounterColumns
	}
	row, err := c.First(query, from.Inbox, removed.Octets, removed.Messages)
	if err != nil || row == nil { // a removed mailbox has no Counters
		return removed, err
	}
	removed.Counted = []Counters{ScanCounters(from.Mailbox, row)}
	return removed, nil
}

// MarkRetrieved notes that the messages of runs of compacted uids were retrieved at a time,
// unless they were before.
func MarkRetrieved(c *db.Conn, folder int64, runs [][2]int64, at time.Time) error {
	for _, some := range selections(folder, runs) {
		_, _, err := c.Exec("UPDATE entry SET retrieved = ? WHERE retrieved IS NULL AND "+some.which, append([]driver.Value{at.Unix()}, some.args...)...)
		if err != nil {
			return err
		}
	}
	return nil
}

// selection is some entries: a condition on them, with its arguments.
type selection struct {
	which string
	args  []driver.Value
}

// where is what follows the columns of a SELECT.
func (s selection) where() string { return " FROM entry WHERE " + s.which }

const (
	shortRun     = 16   // uids: fewer are named one by one
	perSelection = 4096 // uids that are named so
)

// selections turns runs of uids into as few selections as is quick: a long run is one, and
// short ones share one. A statement for each of many would cost more than what it removes.
func selections(folder int64, runs [][2]int64) (all []selection) {
	var named []byte
	n := 0
	flush := func() {
		if n > 0 {
			all = append(all, selection{"id IN (SELECT value FROM json_each(?))", []driver.Value{string(append(named, ']'))}})
			named, n = nil, 0
		}
	}
	for _, run := range runs {
		if run[1]-run[0] >= shortRun || len(runs) == 1 {
			all = append(all, selection{"id BETWEEN ? AND ?", []driver.Value{EntryID(folder, run[0]), EntryID(folder, run[1])}})
			continue
		}
		for uid := run[0]; uid <= run[1]; uid++ {
			separator := byte(',')
			if n == 0 {
				separator = '['
			}
			named = strconv.AppendInt(append(named, separator), EntryID(folder, uid), 10)
			n++
		}
		if n >= perSelection {
			flush()
		}
	}
	flush()
	return all
}

// putAside copies entries to where Undelete finds them; they take their bodies along.
func putAside(c *db.Conn, from Place, some selection, aside Aside) error {
	_, _, err := c.Exec(`INSERT INTO removed (mailbox, folder, octets, body, shared, uidl, own, arrived, flags, at, until)
SELECT ?, folder, octets, body, shared, uidl, own, arrived, flags, ?, ?`+some.where()+" ORDER BY id",
		append([]driver.Value{from.Mailbox, aside.At.Unix(), aside.At.Add(aside.Keep).Unix()}, some.args...)...)
	return err
}

// expungeSome removes entries for Expunge.
func expungeSome(c *db.Conn, some selection, keepBodies bool) (quota.Usage, error) {
	row, err := c.First("SELECT count(*), coalesce(sum(octets), 0), coalesce(sum(shared), 0)"+some.where(), some.args...)
	if err != nil {
		return quota.Usage{}, err
	}
	removed := quota.Usage{Messages: row[0].(int64), Octets: row[1].(int64)}
	if !keepBodies {
		if err := discardBodies(c, row[2].(int64) > 0, some.where(), some.args...); err != nil {
			return quota.Usage{}, err
		}
	}
	_, _, err = c.Exec("DELETE"+some.where(), some.args...)
	return removed, err
}
