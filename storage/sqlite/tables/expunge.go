package tables

import (
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
	for _, run := range runs {
		if aside.Keep > 0 {
			if err := putAside(c, from, run, aside); err != nil {
				return removed, err
			}
		}
		u, err := expungeRun(c, from.Folder, run, aside.Keep > 0)
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

// putAside copies the entries of a run to where Undelete finds them; they take their
// bodies along.
func putAside(c *db.Conn, from Place, run [2]int64, aside Aside) error {
	_, _, err := c.Exec(`INSERT INTO removed (mailbox, folder, octets, body, shared, uidl, own, arrived, flags, at, until)
SELECT ?3, folder, octets, body, shared, uidl, own, arrived, flags, ?4, ?5 FROM entry WHERE id BETWEEN ?1 AND ?2 ORDER BY id`,
		EntryID(from.Folder, run[0]), EntryID(from.Folder, run[1]), from.Mailbox, aside.At.Unix(), aside.At.Add(aside.Keep).Unix())
	return err
}

// expungeRun removes the entries of a run for expunge.
func expungeRun(c *db.Conn, folder int64, run [2]int64, keepBodies bool) (quota.Usage, error) {
	const where = " FROM entry WHERE id BETWEEN ? AND ?"
	first, last := EntryID(folder, run[0]), EntryID(folder, run[1])
	row, err := c.First("SELECT count(*), coalesce(sum(octets), 0), coalesce(sum(shared), 0)"+where, first, last)
	if err != nil {
		return quota.Usage{}, err
	}
	removed := quota.Usage{Messages: row[0].(int64), Octets: row[1].(int64)}
	if !keepBodies {
		if err := discardBodies(c, row[2].(int64) > 0, where, first, last); err != nil {
			return quota.Usage{}, err
		}
	}
	_, _, err = c.Exec("DELETE"+where, first, last)
	return removed, err
}
