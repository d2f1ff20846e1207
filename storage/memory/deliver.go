package memory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"mailsrv/quota"
	"mailsrv/storage"
)

// Deliver implements storage.Deliverer.
func (s *Store) Deliver(ctx context.Context, d *storage.Delivery) (receipt storage.Receipt, err error) {
	b, ok := d.Body.(*body)
	if !ok || b.store != s {
		return receipt, errors.New("memory: the body is of another store")
	}
	if err := cmp.Or(b.failed, b.Err()); err != nil {
		return receipt, err
	}
	err = s.use(ctx, Call{Method: "Deliver"}, func() error {
		places, err := s.takeRoom(d)
		if err != nil {
			return err
		}
		content := b.content(d.ReturnPath + d.Trace)
		now := time.Now()
		for i, r := range d.To {
			p := places[i]
			e := &entry{own: r.Own, content: content, Detail: storage.Detail{
				Entry: storage.Entry{Octets: d.Octets(r), UIDL: cmp.Or(r.UIDL, d.ID)},
				Flags: r.Flags, Arrived: arrived(r.Arrived, d.Arrived, now),
			}}
			p.folder.add(p.mailbox, p.uid, e)
			receipt.Placed = append(receipt.Placed, storage.Placed{Mailbox: r.Mailbox, Folder: p.folder.id, UID: p.uid})
		}
		return nil
	})
	return receipt, err
}

// arrived returns the first of the times that is not zero, in Unix seconds.
func arrived(times ...time.Time) int64 {
	for _, t := range times {
		if !t.IsZero() {
			return t.Unix()
		}
	}
	return 0
}

// place is where a message is going to be added.
type place struct {
	mailbox *mailbox
	folder  *folder
	uid     storage.UID
}

// takeRoom finds the place of each recipient. Its error refuses the whole delivery:
// *storage.MisfitError if some recipients have no room.
func (s *Store) takeRoom(d *storage.Delivery) ([]place, error) {
	var refusal error
	var places []place
	var misfits []storage.Misfit
	taken := map[*mailbox]quota.Usage{} // by earlier recipients of this delivery
	for _, r := range d.To {
		octets := d.Octets(r)
		p, reason, err := s.room(r, octets, d.Limit, taken[s.byID[r.Mailbox]])
		switch {
		case err != nil:
			refusal = err
		case p.folder == nil:
			misfits = append(misfits, storage.Misfit{Mailbox: r.Mailbox, Reason: reason})
		default:
			taken[p.mailbox] = taken[p.mailbox].Add(quota.Usage{Octets: octets, Messages: 1})
		}
		places = append(places, p)
	}
	if refusal == nil && len(misfits) > 0 {
		refusal = &storage.MisfitError{Misfits: misfits}
	}
	return places, refusal
}

// room finds the place for a message of this size in octets, beside taken, the usage that
// earlier recipients of the delivery add. If there is no room, the place has no folder
// and reason says why. An error refuses the whole delivery.
func (s *Store) room(r storage.Recipient, octets int64, server quota.Limit, taken quota.Usage) (p place, reason storage.MisfitReason, err error) {
	m := s.byID[r.Mailbox]
	if m == nil {
		return p, storage.MisfitGone, nil
	}
	f := m.folderOf(r.Folder)
	switch {
	case f == nil:
		return p, 0, storage.ErrNoFolder
	case !m.receives():
		return p, storage.MisfitDisabled, nil
	}
	limit := s.effective(m).Limit.Or(server)
	switch limit.Judge(m.Usage.Add(taken), quota.Usage{Octets: octets, Messages: 1}) {
	case quota.TooLarge:
		return p, storage.MisfitTooLarge, nil
	case quota.Full:
		return p, storage.MisfitFull, nil
	}
	switch {
	case r.UID == 0 && f.last == storage.MaxUID:
		return p, 0, fmt.Errorf("mailbox %d: %w", r.Mailbox, storage.ErrFolderEnded)
	case r.UID != 0 && r.UID <= f.last:
		return p, 0, fmt.Errorf("mailbox %d, uid %d after %d: %w", r.Mailbox, r.UID, f.last, storage.ErrUID)
	}
	return place{m, f, cmp.Or(r.UID, f.last+1)}, 0, nil
}
