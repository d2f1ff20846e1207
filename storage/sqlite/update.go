package sqlite

import (
	"context"
	"slices"

	"mailsrv/quota"
	"mailsrv/storage"
	"mailsrv/storage/sqlite/commit"
	"mailsrv/storage/sqlite/db"
	"mailsrv/storage/sqlite/tables"
)

// Update implements storage.Maildrop.
func (m *maildrop) Update(ctx context.Context, claim storage.Claim, change storage.Change) (quota.Usage, error) {
	if claim != nil {
		// Nobody can take the claim before the session yields it, and the session waits for
		// this call.
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
	var removed tables.Expunged
	var garbage quota.Usage
	compacted := int64(0)
	remove := &commit.Change{Effect: commit.Effect{Kind: commit.Remove}}
	remove.Apply = func(c *db.Conn) (err error) {
		now := m.store.now()
		removed, garbage = tables.Expunged{}, quota.Usage{}
		if compacted, err = tables.CompactFolder(c, m.Folder); err != nil {
			return err
		}
		if err := tables.MarkRetrieved(c, m.Folder, seen, now); err != nil {
			return err
		}
		if len(gone) == 0 {
			return nil
		}
		aside, err := m.store.asideOf(c, m.Mailbox)
		if err != nil {
			return err
		}
		aside.At = now
		removed, err = tables.Expunge(c, m.Place, gone, aside)
		if aside.Keep == 0 {
			garbage = removed.Usage
		}
		return err
	}
	remove.Committed = func() {
		m.store.cache.count(removed.Counted...)
		m.store.upkeep.addArrivals(-compacted)
	}
	if err := m.store.engine.Do(ctx, remove); err != nil {
		return quota.Usage{}, err
	}
	m.store.upkeep.addGarbage(garbage)
	m.store.tellDropped(removed.Dropped)
	return removed.Usage, nil
}

// fewRuns is how many runs of uids are used as they are. If there are more, it is worthwhile
// to look whether there are messages between them.
const fewRuns = 32

// perLook is the number of messages that are read at a time for that.
const perLook = 8 * perText

// runs turns messages into runs of uids that contain no other messages. Each run costs a
// statement or two. No new message can get a uid between two others, so runs with no message
// between them are joined: deleting all messages that were fetched is then one run.
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
	occupied := make([]bool, len(runs)) // a message that stays follows the run
	at := 0                             // the current run
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
