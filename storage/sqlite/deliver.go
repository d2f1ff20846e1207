package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mailsrv/quota"
	"mailsrv/storage"
	"mailsrv/storage/sqlite/commit"
	"mailsrv/storage/sqlite/db"
	"mailsrv/storage/sqlite/tables"
)

// Deliver implements storage.Deliverer.
func (s *Store) Deliver(ctx context.Context, d *storage.Delivery) (storage.Receipt, error) {
	b, ok := d.Body.(*body)
	if !ok || b.store != s {
		return storage.Receipt{}, errors.New("sqlite: the body is of another store")
	}
	if err := b.Err(); err != nil {
		return storage.Receipt{}, err
	}
	if err := s.space.Take(int64(len(b.Rest()))); err != nil {
		return storage.Receipt{}, err
	}
	var taken []room
	change := &commit.Change{Effect: commit.Effect{Kind: commit.Add, Octets: int64(len(b.Rest())), Rows: int64(len(d.To))}}
	change.Apply = func(c *db.Conn) (err error) {
		taken, change.Refusal, err = takeRoom(c, d)
		if err != nil || change.Refusal != nil {
			return err
		}
		return insertMessage(c, d, b, taken)
	}
	change.Committed = func() {
		s.cache.countAll(len(taken), func(i int) tables.Counters { return taken[i].Counters })
		s.upkeep.addArrivals(int64(len(taken)))
	}
	if err := s.engine.Do(ctx, change); err != nil {
		return storage.Receipt{}, err
	}
	b.delivered()
	receipt := storage.Receipt{Placed: make([]storage.Placed, len(taken))}
	for i, t := range taken {
		receipt.Placed[i] = storage.Placed{Mailbox: d.To[i].Mailbox, Folder: storage.FolderID(t.folder), UID: storage.UID(t.uid)}
	}
	return receipt, nil
}

// room is the folder that a message was counted into, and what the message was given there.
type room struct {
	tables.Counters // the mailbox's counters after that
	folder          int64
	uid, modseq     int64 // given to the message
	before          int64 // highest uid that was given before
}

// roomFor is the condition that a mailbox receives mail and has room. It reads the limits
// in the transaction of the delivery, so that a limit that was just lowered counts. It has
// subqueries instead of joins, since a build without SQLITE_ENABLE_QPSG compiles a join anew
// at each bind.
const roomFor = `
WHERE folder = (SELECT inbox FROM mailbox WHERE id = ?1) AND EXISTS (
    SELECT 1 FROM mailbox m WHERE m.id = ?1 AND m.receives
    AND tally.all_octets + ?2 <= coalesce(nullif(coalesce(m.limit_octets,
        (SELECT limit_octets FROM domain WHERE id = m.domain), max(?3, 0)), 0), 9223372036854775807)
    AND tally.all_messages < coalesce(nullif(coalesce(m.limit_messages,
        (SELECT limit_messages FROM domain WHERE id = m.domain), max(?4, 0)), 0), 9223372036854775807))`

// The queries that count a message in. If there is no room they change nothing. ?5 is the
// uid to give; 0: the next one. For INBOX a single row changes.
const (
	addOne = "octets = octets + ?2, messages = messages + 1, last = iif(?5 = 0, last + 1, ?5), modseq = modseq + 1"
	addAll = "all_octets = all_octets + ?2, all_messages = all_messages + 1"
	hasUID = "iif(?5 = 0, last < 4294967295, ?5 > last)"

	countInbox  = "UPDATE tally SET " + addOne + ", " + addAll + roomFor + " AND " + hasUID + " RETURNING " + tables.CounterColumns + ", modseq"
	countTotals = "UPDATE tally SET " + addAll + roomFor + " RETURNING " + tables.CounterColumns
	countFolder = "UPDATE tally SET " + addOne + " WHERE folder = ?1 AND " + hasUID + " RETURNING last, modseq"
)

// countIn counts a message into a recipient's folder. It returns not ok, and has changed
// nothing, if the recipient cannot take it.
func countIn(c *db.Conn, r storage.Recipient, octets int64, limit quota.Limit) (t room, ok bool, err error) {
	mailbox, uid := int64(r.Mailbox), int64(r.UID)
	given := int64(0) // in the folder
	if r.UID != 0 || r.Folder != 0 {
		p, err := tables.PlaceOf(c, mailbox, int64(r.Folder))
		if errors.Is(err, storage.ErrNoMaildrop) {
			return t, false, nil // whyNot reports it
		}
		if err == nil {
			given, err = c.Number("SELECT last FROM tally WHERE folder = ?", p.Folder)
		}
		if err != nil {
			return t, false, err
		}
		if p.Folder != p.Inbox {
			return countElsewhere(c, p, octets, uid, given, limit)
		}
	}
	row, err := c.First(countInbox, mailbox, octets, limit.Octets, limit.Messages, uid)
	if err != nil || row == nil {
		return t, false, err
	}
	t = room{Counters: tables.ScanCounters(mailbox, row), modseq: row[6].(int64), before: given}
	t.folder, t.uid = t.Inbox, t.Last
	if uid == 0 {
		t.before = t.uid - 1
	}
	return t, true, nil
}

// countElsewhere is as countIn, for a folder other than INBOX. last is the highest uid that
// the folder has given.
func countElsewhere(c *db.Conn, p tables.Place, octets, uid, last int64, limit quota.Limit) (t room, ok bool, err error) {
	if uid == 0 && last >= int64(storage.MaxUID) || uid != 0 && uid <= last {
		return t, false, nil
	}
	row, err := c.First(countTotals, p.Mailbox, octets, limit.Octets, limit.Messages)
	if err != nil || row == nil {
		return t, false, err
	}
	t = room{Counters: tables.ScanCounters(p.Mailbox, row), folder: p.Folder, before: last}
	row, err = c.First(countFolder, p.Folder, octets, nil, nil, uid)
	if err == nil && row == nil {
		err = fmt.Errorf("%w: folder %d has no counters", storage.ErrCorrupt, p.Folder)
	}
	if err != nil {
		return t, false, err
	}
	t.uid, t.modseq = row[0].(int64), row[1].(int64)
	return t, true, nil
}

// countOut undoes countIn.
func countOut(c *db.Conn, t room, octets int64) error {
	_, _, err := c.Exec("UPDATE tally SET octets = octets - ?2, messages = messages - 1, last = ?3, modseq = modseq - 1 WHERE folder = ?1",
		t.folder, octets, t.before)
	if err == nil {
		_, _, err = c.Exec("UPDATE tally SET all_octets = all_octets - ?2, all_messages = all_messages - 1 WHERE folder = ?1", t.Inbox, octets)
	}
	return err
}

// takeRoom counts the message into every recipient's folder. If some cannot take it, it
// counts it into none and returns a refusal. It uses no savepoint: errors that roll back a
// transaction do not stop at one, and a savepoint costs more than undoing with countOut.
func takeRoom(c *db.Conn, d *storage.Delivery) (taken []room, refusal, err error) {
	taken = make([]room, 0, len(d.To))
	var misfits []storage.Misfit
	for _, r := range d.To {
		t, ok, err := countIn(c, r, d.Octets(r), d.Limit)
		switch {
		case errors.Is(err, storage.ErrNoFolder):
			refusal = err
		case err != nil:
			return nil, nil, err
		case !ok:
			reason, why, err := whyNot(c, r, d.Octets(r), d.Limit)
			if err != nil {
				return nil, nil, err
			}
			if why != nil {
				refusal = why
			} else {
				misfits = append(misfits, storage.Misfit{Mailbox: r.Mailbox, Reason: reason})
			}
		}
		taken = append(taken, t)
	}
	if refusal == nil && len(misfits) > 0 {
		refusal = &storage.MisfitError{Misfits: misfits}
	}
	if refusal == nil {
		return taken, nil, nil
	}
	for i, t := range taken {
		if t.uid == 0 { // not counted
			continue
		}
		if err := countOut(c, t, d.Octets(d.To[i])); err != nil {
			return nil, nil, err
		}
	}
	return nil, refusal, nil
}

// whyNot finds out why countIn changed nothing. It returns a reason, which is reported to
// the sender, or a refusal.
func whyNot(c *db.Conn, r storage.Recipient, octets int64, limit quota.Limit) (reason storage.MisfitReason, refusal, err error) {
	row, err := c.First(`
SELECT m.receives, p.all_octets, p.all_messages,
    coalesce(m.limit_octets, d.limit_octets, max(?2, 0)), coalesce(m.limit_messages, d.limit_messages, max(?3, 0)),
    (SELECT last FROM tally WHERE folder = iif(?4 = 0, m.inbox, ?4))
FROM mailbox m JOIN domain d ON d.id = m.domain LEFT JOIN tally p ON p.folder = m.inbox WHERE m.id = ?1`,
		int64(r.Mailbox), limit.Octets, limit.Messages, int64(r.Folder))
	switch {
	case err != nil:
		return 0, nil, err
	case row == nil:
		return storage.MisfitGone, nil, nil
	case row[0].(int64) == 0:
		return storage.MisfitDisabled, nil, nil
	case row[1] == nil || row[5] == nil: // a damaged page has lost it: that is no reason to bounce mail
		return 0, nil, fmt.Errorf("%w: mailbox %d has no counters", storage.ErrCorrupt, r.Mailbox)
	}
	held := quota.Usage{Octets: row[1].(int64), Messages: row[2].(int64)}
	allowed := quota.Limit{Octets: amountOf(row[3]), Messages: amountOf(row[4])}
	switch allowed.Judge(held, quota.Usage{Octets: octets, Messages: 1}) {
	case quota.TooLarge:
		return storage.MisfitTooLarge, nil, nil
	case quota.Full:
		return storage.MisfitFull, nil, nil
	}
	if r.UID == 0 {
		return 0, fmt.Errorf("mailbox %d: %w", r.Mailbox, storage.ErrFolderEnded), nil
	}
	return 0, fmt.Errorf("mailbox %d, uid %d after %d: %w", r.Mailbox, r.UID, row[5], storage.ErrUID), nil
}

// insertMessage writes the body once, and an entry in each folder that the message was
// counted into.
func insertMessage(c *db.Conn, d *storage.Delivery, b *body, taken []room) error {
	id, err := b.insert(c, d)
	if err != nil {
		return err
	}
	shared := int64(0)
	if len(d.To) > 1 {
		shared = 1
		if _, _, err := c.Exec("INSERT INTO share (body, refs) VALUES (?, ?)", id, int64(len(d.To))); err != nil {
			return err
		}
	}
	now := time.Now()
	for i, r := range d.To {
		uidl, arrived := r.UIDL, r.Arrived
		if uidl == "" {
			uidl = d.ID
		}
		if arrived.IsZero() {
			arrived = d.Arrived
		}
		if arrived.IsZero() {
			arrived = now
		}
		_, _, err := c.Exec("INSERT INTO arrival ("+tables.EntryColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
			tables.EntryID(taken[i].folder, taken[i].uid), d.Octets(r), id, shared, uidl, r.Own, arrived.Unix(), int64(r.Flags), taken[i].modseq)
		if err != nil {
			return err
		}
	}
	return nil
}
