package sqlite

import (
	"context"
	"database/sql/driver"
	"slices"
	"time"

	"mailsrv/quota"
	"mailsrv/storage"
)

// Update implements storage.Maildrop.
func (m *maildrop) Update(ctx context.Context, claim storage.Claim, change storage.Change) (quota.Usage, error) {
	if claim != nil {
		// Nobody takes it before the session yields it, and that waits for us.
		if err := claim.Hold(ctx); err != nil {
			return quota.Usage{}, err
		}
	}
	if len(change.Expunge)+len(change.Retrieved) == 0 {
		return quota.Usage{}, nil
	}
	gone, err := m.runs(ctx, change.Expunge)
	if err != nil {
		return quota.Usage{}, err
	}
	seen, err := m.runs(ctx, change.Retrieved)
	if err != nil {
		return quota.Usage{}, err
	}
	var removed quota.Usage
	garbage := int64(0)
	j := &job{frees: true, narrow: true}
	j.apply = func(c *conn) error {
		now := time.Now()
		removed, garbage, j.counted = quota.Usage{}, 0, nil
		compacted, err := compactFolder(c, m.folder)
		if err != nil {
			return err
		}
		j.arrivals = -compacted
		for _, r := range seen {
			_, _, err := c.exec("UPDATE entry SET retrieved = ?3 WHERE id BETWEEN ?1 AND ?2 AND retrieved IS NULL",
				entryID(m.folder, r[0]), entryID(m.folder, r[1]), now.Unix())
			if err != nil {
				return err
			}
		}
		if len(gone) == 0 {
			return nil
		}
		keep, err := keepDeleted(c, m.mailbox)
		if err != nil {
			return err
		}
		removed, j.counted, err = expunge(c, m.place, gone, keepAside{now, keep})
		if keep == 0 {
			garbage = removed.Messages
		}
		return err
	}
	if err := m.store.writer.do(ctx, j); err != nil {
		return quota.Usage{}, err
	}
	m.store.writer.addGarbage(garbage)
	return removed, nil
}

// keepDeleted is how long what is deleted from a mailbox is kept aside.
func keepDeleted(c *conn, mailbox int64) (time.Duration, error) {
	seconds, err := c.number(`SELECT coalesce(keep_deleted, (SELECT keep_deleted FROM domain WHERE id = m.domain), 0)
FROM mailbox m WHERE id = ?`, mailbox)
	return time.Duration(seconds) * time.Second, err
}

// fewRuns is how many runs of uids are removed or noted as they are. Were there more,
// it is worth a look at what stands between them.
const fewRuns = 32

// perLook is how many messages are looked at at a time for that.
const perLook = 8 * perText

// runs turns messages into runs of uids that hold nothing else, each a statement or
// two. Between two neighbours no other message can come to be, so that runs with
// nothing between them are one: deleting all that was fetched is then one run.
func (m *maildrop) runs(ctx context.Context, marked []storage.UID) (runs [][2]int64, err error) {
	if !slices.IsSorted(marked) {
		marked = slices.Sorted(slices.Values(marked))
	}
	for _, uid := range marked {
		if n := len(runs); n > 0 && int64(uid) <= runs[n-1][1]+1 {
			runs[n-1][1] = int64(uid)
		} else {
			runs = append(runs, [2]int64{int64(uid), int64(uid)})
		}
	}
	if len(runs) <= fewRuns {
		return runs, nil
	}
	occupied := make([]bool, len(runs)) // something stands behind the run that stays
	at := 0                             // the run that was come to
	for from := storage.UID(runs[0][0]); at < len(runs)-1; {
		there, err := m.Entries(ctx, from, perLook)
		if err != nil {
			return nil, err
		}
		for _, e := range there {
			for at < len(runs)-1 && int64(e.UID) >= runs[at+1][0] {
				at++
			}
			occupied[at] = occupied[at] || int64(e.UID) > runs[at][1]
		}
		if len(there) < perLook {
			break
		}
		from = there[perLook-1].UID + 1
	}
	joined := runs[:1]
	for i, run := range runs[1:] {
		if occupied[i] {
			joined = append(joined, run)
		} else {
			joined[len(joined)-1][1] = run[1]
		}
	}
	return joined, nil
}

// keepAside says for how long what is removed from at on can be brought back; 0: it
// cannot.
type keepAside struct {
	at   time.Time
	keep time.Duration
}

// expunge removes runs of compacted messages from a folder. It is the one way out:
// whatever removes a message goes through here. It counts the folder's modseq and
// notes it as that of the last removal, so that who knows the folder from before can
// learn of it, and takes what goes out of the counters, which it returns. The bodies
// go along where it is put aside; otherwise those become garbage that nobody else needs.
func expunge(c *conn, from place, runs [][2]int64, aside keepAside) (removed quota.Usage, counted []counters, err error) {
	for _, run := range runs {
		if aside.keep > 0 {
			if err := putAside(c, from, run, aside); err != nil {
				return removed, nil, err
			}
		}
		u, err := expungeRun(c, from.folder, run, aside.keep > 0)
		if err != nil {
			return removed, nil, err
		}
		removed = removed.Add(u)
	}
	if removed.Messages == 0 {
		return removed, nil, nil
	}
	const less = "octets = octets - ?2, messages = messages - ?3, modseq = modseq + 1, expunged = modseq + 1"
	const allLess = "all_octets = all_octets - ?2, all_messages = all_messages - ?3"
	query := "UPDATE tally SET " + less + ", " + allLess + " WHERE folder = ?1 RETURNING " + counterColumns
	if from.folder != from.inbox {
		_, _, err := c.exec("UPDATE tally SET "+less+" WHERE folder = ?1", from.folder, removed.Octets, removed.Messages)
		if err != nil {
			return removed, nil, err
		}
		query = "UPDATE tally SET " + allLess + " WHERE folder = ?1 RETURNING " + counterColumns
	}
	row, err := c.first(query, from.inbox, removed.Octets, removed.Messages)
	if err != nil || row == nil { // a removed mailbox has no counters
		return removed, nil, err
	}
	return removed, []counters{scanCounters(from.mailbox, row)}, nil
}

// putAside copies the entries of a run to where Undelete finds them; they take their
// bodies along.
func putAside(c *conn, from place, run [2]int64, aside keepAside) error {
	_, _, err := c.exec(`INSERT INTO removed (mailbox, folder, octets, body, shared, own, arrived, flags, at, until)
SELECT ?3, folder, octets, body, shared, own, arrived, flags, ?4, ?5 FROM entry WHERE id BETWEEN ?1 AND ?2 ORDER BY id`,
		entryID(from.folder, run[0]), entryID(from.folder, run[1]), from.mailbox, aside.at.Unix(), aside.at.Add(aside.keep).Unix())
	return err
}

// expungeRun removes the entries of a run for expunge.
func expungeRun(c *conn, folder int64, run [2]int64, keepBodies bool) (quota.Usage, error) {
	const where = " FROM entry WHERE id BETWEEN ? AND ?"
	first, last := entryID(folder, run[0]), entryID(folder, run[1])
	row, err := c.first("SELECT count(*), coalesce(sum(octets), 0), coalesce(sum(shared), 0)"+where, first, last)
	if err != nil {
		return quota.Usage{}, err
	}
	removed := quota.Usage{Messages: row[0].(int64), Octets: row[1].(int64)}
	if !keepBodies {
		if err := discardBodies(c, row[2].(int64) > 0, where, first, last); err != nil {
			return quota.Usage{}, err
		}
	}
	_, _, err = c.exec("DELETE"+where, first, last)
	return removed, err
}

// discardBodies makes garbage of the bodies of rows that are about to go, as far as nobody
// else needs them.
func discardBodies(c *conn, someShared bool, where string, args ...driver.Value) error {
	if someShared {
		var shared []int64
		err := c.each("SELECT body"+where+" AND shared = 1", func(row []driver.Value) error {
			shared = append(shared, row[0].(int64))
			return nil
		}, args...)
		if err != nil {
			return err
		}
		for _, id := range shared {
			if err := unshare(c, id); err != nil {
				return err
			}
		}
	}
	_, _, err := c.exec("INSERT OR IGNORE INTO garbage (body) SELECT body"+where+" AND shared = 0", args...)
	return err
}

// unshare counts one entry less on a shared body, and makes it garbage with the last.
func unshare(c *conn, id int64) error {
	if _, _, err := c.exec("UPDATE share SET refs = refs - 1 WHERE body = ?", id); err != nil {
		return err
	}
	freed, _, err := c.exec("DELETE FROM share WHERE body = ? AND refs <= 0", id)
	if err != nil || freed == 0 {
		return err
	}
	return discard(c, id)
}

func discard(c *conn, id int64) error {
	_, _, err := c.exec("INSERT OR IGNORE INTO garbage (body) VALUES (?)", id)
	return err
}
