package memory

import (
	"cmp"
	"context"
	"io"
	"slices"
	"time"

	"mailsrv/internal/buffers"
	"mailsrv/internal/mail"
	"mailsrv/quota"
	"mailsrv/storage"
)

// maildrop is one session's snapshot.
type maildrop struct {
	store   *Store
	mailbox *mailbox
	last    storage.UID // highest uid of the snapshot
	usage   quota.Usage
}

// call returns the Call for a method of the maildrop.
func (d *maildrop) call(method string) Call { return Call{Method: method, Mailbox: d.mailbox.ID} }

// OpenMaildrop implements storage.Maildrops.
func (s *Store) OpenMaildrop(ctx context.Context, id mail.MailboxID) (storage.Maildrop, error) {
	d := &maildrop{store: s}
	err := s.use(ctx, Call{Method: "OpenMaildrop", Mailbox: id}, func() error {
		if d.mailbox = s.byID[id]; d.mailbox == nil {
			return storage.ErrNoMaildrop
		}
		d.last, d.usage = d.mailbox.inbox.last, d.mailbox.inbox.held
		return nil
	})
	if err != nil {
		return nil, err
	}
	return d, nil
}

// Usage implements storage.Maildrop.
func (d *maildrop) Usage() quota.Usage { return d.usage }

// Entries implements storage.Maildrop.
func (d *maildrop) Entries(ctx context.Context, from storage.UID, most int) (all []storage.Entry, err error) {
	err = d.store.use(ctx, d.call("Entries"), func() error {
		for _, e := range d.piece(from, most) {
			all = append(all, e.Entry)
		}
		return nil
	})
	return all, err
}

// Details implements storage.Maildrop.
func (d *maildrop) Details(ctx context.Context, from storage.UID, most int) (all []storage.Detail, err error) {
	err = d.store.use(ctx, d.call("Details"), func() error {
		for _, e := range d.piece(from, most) {
			all = append(all, e.Detail)
		}
		return nil
	})
	return all, err
}

// piece returns at most most messages of the snapshot, beginning with the uid from. The
// caller holds the store's mutex.
func (d *maildrop) piece(from storage.UID, most int) []*entry {
	all := d.mailbox.inbox.entries
	at := func(uid storage.UID) int {
		i, _ := slices.BinarySearchFunc(all, uid, func(e *entry, uid storage.UID) int { return cmp.Compare(e.UID, uid) })
		return i
	}
	end := len(all)
	if d.last < storage.MaxUID {
		end = at(d.last + 1)
	}
	first := min(at(from), end)
	return all[first:min(end, first+most)]
}

// Update implements storage.Maildrop.
func (d *maildrop) Update(ctx context.Context, claim storage.Claim, change storage.Change) (removed quota.Usage, err error) {
	if claim != nil {
		if err := claim.Hold(ctx); err != nil {
			return removed, err
		}
	}
	c := d.call("Update")
	c.Retrieved = change.Retrieved
	err = d.store.use(ctx, c, func() error {
		now := d.store.clock.Stamp(time.Now())
		for _, uid := range change.Retrieved {
			if e := d.mailbox.inbox.find(uid); e != nil && e.retrieved == 0 {
				e.retrieved = now.Unix()
			}
		}
		gone := make(map[storage.UID]bool, len(change.Expunge))
		for _, uid := range change.Expunge {
			gone[uid] = true
		}
		keep := d.store.effective(d.mailbox).Retention.Deleted
		removed = d.store.expunge(d.mailbox, d.mailbox.inbox, now, keep, func(e *entry) bool { return gone[e.UID] })
		return nil
	})
	return removed, err
}

// Message implements storage.Maildrop.
func (d *maildrop) Message(ctx context.Context, e storage.Entry, from int64) (storage.Message, error) {
	c := d.call("Message")
	c.Entry = e
	m := &message{maildrop: d, reserved: min(e.Octets, buffers.Max)}
	err := d.store.use(ctx, c, func() error {
		if m.entry = d.mailbox.inbox.find(e.UID); m.entry == nil {
			return storage.ErrGone
		}
		if m.entry.octets() != m.entry.Octets {
			return storage.ErrDamaged
		}
		m.pieces = [][]byte{[]byte(m.entry.content.prefix + m.entry.own)}
		m.pieces = append(m.pieces, m.entry.content.pieces...)
		m.skip(from)
		return nil
	})
	if err == nil {
		err = d.store.buffers.Reserve(ctx, m.reserved)
	}
	if err != nil {
		return nil, err
	}
	d.store.mu.Lock()
	defer d.store.mu.Unlock()
	d.store.messages++
	return m, nil
}

// message yields the pieces of a message.
type message struct {
	maildrop *maildrop
	entry    *entry
	pieces   [][]byte // not returned yet
	at       int64
	reserved int64
	closed   bool
}

// skip skips the first octets of the message.
func (m *message) skip(octets int64) {
	for i, piece := range m.pieces {
		n := min(octets, int64(len(piece)))
		m.pieces[i] = piece[n:]
		m.at += n
		octets -= n
	}
}

// Next implements storage.Message.
func (m *message) Next(ctx context.Context) (piece []byte, err error) {
	c := m.maildrop.call("Next")
	c.Entry, c.At = m.entry.Entry, m.at
	err = m.maildrop.store.use(ctx, c, func() error {
		for len(m.pieces) > 0 && len(m.pieces[0]) == 0 {
			m.pieces = m.pieces[1:]
		}
		switch {
		case len(m.pieces) == 0:
			return io.EOF
		case m.maildrop.mailbox.inbox.find(m.entry.UID) == nil:
			return storage.ErrGone
		}
		n := len(m.pieces[0])
		if most := m.maildrop.store.options.Piece; most > 0 {
			n = min(n, most)
		}
		piece, m.pieces[0] = m.pieces[0][:n:n], m.pieces[0][n:]
		m.at += int64(n)
		return nil
	})
	return piece, err
}

// Close implements storage.Message.
func (m *message) Close() {
	if m.closed {
		return
	}
	m.closed = true
	m.maildrop.store.buffers.Release(m.reserved)
	m.maildrop.store.mu.Lock()
	defer m.maildrop.store.mu.Unlock()
	m.maildrop.store.messages--
}
