package tables

import (
	"database/sql/driver"
	"strconv"
	"time"

	"mailsrv/quota"
	"mailsrv/storage/sqlite/db"
)

// Expunged is what [Expunge] did.
type Expunged struct {
	quota.Usage            // what was removed from the folder
	Counted     []Counters // the new counters; none: nothing was removed, or the mailbox is
	Dropped     []Dropped  // older messages that were dropped to make room aside
}

// Expunge removes runs of compacted messages from a folder. A run is the first and the last
// uid. Every removal of a message goes through this function.
//
// It adds one to the folder's modseq and stores that as the modseq of the last removal, so
// that a client that knew the folder before can learn of it. It subtracts what it removes
// from the counters, and returns those. If aside.Keep is above 0 the messages are put
// aside with their bodies, and older ones are dropped as far as the limits ask for.
// Otherwise bodies that nobody else needs become garbage.
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

// MarkRetrieved notes that the compacted messages of the runs of uids were retrieved at
// this time. Messages that were retrieved before keep their earlier time.
func MarkRetrieved(c *db.Conn, folder int64, runs [][2]int64, at time.Time) error {
	for _, some := range selections(folder, runs) {
		_, _, err := c.Exec("UPDATE entry SET retrieved = ? WHERE retrieved IS NULL AND "+some.which, append([]driver.Value{at.Unix()}, some.args...)...)
		if err != nil {
			return err
		}
	}
	return nil
}

// selection is a condition on rows of entry, with its arguments.
type selection struct {
	which string
	args  []driver.Value
}

// where returns what follows the columns of a SELECT.
func (s selection) where() string { return " FROM entry WHERE " + s.which }

const (
	shortRun     = 16   // uids; a shorter run is listed uid by uid
	perSelection = 4096 // listed uids for each selection
)

// selections turns runs of uids into few selections. A long run is one selection, and short
// ones share one. With many short runs, a statement for each would cost more than the
// removal itself.
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

// putAside copies entries to removed, where Undelete finds them. The rows of removed refer
// to the bodies from then on.
func putAside(c *db.Conn, from Place, some selection, aside Aside) error {
	_, _, err := c.Exec(`INSERT INTO removed (mailbox, folder, octets, body, shared, uidl, own, arrived, flags, at, until)
SELECT ?, folder, octets, body, shared, uidl, own, arrived, flags, ?, ?`+some.where()+" ORDER BY id",
		append([]driver.Value{from.Mailbox, aside.At.Unix(), aside.At.Add(aside.Keep).Unix()}, some.args...)...)
	return err
}

// expungeSome removes the entries of one selection, and returns what it removed.
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
