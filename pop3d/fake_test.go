package pop3d_test

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/netip"
	"slices"
	"sync"
	"time"

	"mailsrv/internal/auth"
	"mailsrv/internal/mail"
	"mailsrv/quota"
	"mailsrv/storage"
)

// message is a stored message, and what goes wrong with it.
type message struct {
	text    string
	uidl    string
	octets  int64 // claimed, if not those of text
	openErr error // from Message
	nextErr error // from Next, after nextAt octets
	nextAt  int
	panics  bool          // in Next
	stall   chan struct{} // Next waits until it is closed
}

func (m *message) size() int64 {
	if m.octets > 0 {
		return m.octets
	}
	return int64(len(m.text))
}

// store is a pop3d.Store in memory whose reading can be made to fail.
type store struct {
	storage.LocalClaims
	piece int // octets Next returns at most; 0: all

	mu         sync.Mutex
	maildrops  map[mail.MailboxID][]message
	openErr    error
	entriesErr error
	expungeErr error
	calls      []string      // of methods, in order
	noted      []string      // UIDLs that Update was told were retrieved
	open       int           // messages open
	opening    chan struct{} // OpenMaildrop waits until it is closed
}

func (s *store) called(method string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, method)
}

// left returns the UIDLs in a maildrop.
func (s *store) left(id mail.MailboxID) (uidls []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.maildrops[id] {
		uidls = append(uidls, m.uidl)
	}
	return uidls
}

func (s *store) OpenMaildrop(ctx context.Context, id mail.MailboxID) (storage.Maildrop, error) {
	s.called("OpenMaildrop")
	s.mu.Lock()
	opening := s.opening
	s.mu.Unlock()
	if opening != nil {
		select {
		case <-opening:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return &maildrop{store: s, id: id, messages: s.maildrops[id]}, s.openErr
}

type maildrop struct {
	store    *store
	id       mail.MailboxID
	messages []message
}

func (d *maildrop) Usage() (u quota.Usage) {
	for _, m := range d.messages {
		u = u.Add(quota.Usage{Octets: m.size(), Messages: 1})
	}
	return u
}

func (d *maildrop) Entries(_ context.Context, from storage.UID, most int) (entries []storage.Entry, err error) {
	d.store.called("Entries")
	for i, m := range d.messages {
		if i+1 < int(from) || len(entries) == most {
			continue
		}
		entries = append(entries, storage.Entry{UID: storage.UID(i + 1), Octets: m.size(), UIDL: m.uidl})
	}
	return entries, d.store.entriesErr
}

func (d *maildrop) Details(context.Context, storage.UID, int) ([]storage.Detail, error) {
	panic("POP3 shows no details")
}

func (d *maildrop) Message(_ context.Context, e storage.Entry, _ int64) (storage.Message, error) {
	d.store.called("Message")
	m := d.messages[e.UID-1]
	if m.openErr != nil {
		return nil, m.openErr
	}
	d.store.mu.Lock()
	defer d.store.mu.Unlock()
	d.store.open++
	return &reader{store: d.store, message: m}, nil
}

func (d *maildrop) Update(ctx context.Context, claim storage.Claim, c storage.Change) (removed quota.Usage, err error) {
	d.store.called("Update")
	if err := claim.Hold(ctx); err != nil {
		return quota.Usage{}, err
	}
	d.store.mu.Lock()
	defer d.store.mu.Unlock()
	if d.store.expungeErr != nil {
		return quota.Usage{}, d.store.expungeErr
	}
	uidl := func(uid storage.UID) string { return d.messages[uid-1].uidl }
	for _, uid := range c.Retrieved {
		d.store.noted = append(d.store.noted, uidl(uid))
	}
	var kept []message
	for _, m := range d.store.maildrops[d.id] {
		if slices.ContainsFunc(c.Expunge, func(uid storage.UID) bool { return uidl(uid) == m.uidl }) {
			removed = removed.Add(quota.Usage{Octets: m.size(), Messages: 1})
		} else {
			kept = append(kept, m)
		}
	}
	d.store.maildrops[d.id] = kept
	return removed, nil
}

type reader struct {
	store   *store
	message message
	at      int
}

func (r *reader) Next(ctx context.Context) ([]byte, error) {
	if r.message.stall != nil {
		select {
		case <-r.message.stall:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	switch {
	case r.message.panics:
		panic("a fault of the test")
	case r.message.nextErr != nil && r.at >= r.message.nextAt:
		return nil, r.message.nextErr
	case r.at == len(r.message.text):
		return nil, io.EOF
	}
	n := len(r.message.text) - r.at
	if r.store.piece > 0 {
		n = min(n, r.store.piece)
	}
	if r.message.nextErr != nil {
		n = min(n, r.message.nextAt-r.at)
	}
	p := r.message.text[r.at : r.at+n]
	r.at += n
	return []byte(p), nil
}

func (r *reader) Close() {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	r.store.open--
}

// authenticator knows some mailboxes, all with the password "secret" but the
// one of the UTF-8 name.
type authenticator struct {
	password string   // in place of "secret"
	changes  *changes // nil: no login ever ceases to stand
}

// changes are what became of the logins of an authenticator.
type changes struct {
	mu    sync.Mutex
	err   error // from Stands
	asked int
}

func (c *changes) set(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

func (c *changes) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked
}

func (a authenticator) Stands(context.Context, auth.Login) error {
	if a.changes == nil {
		return nil
	}
	a.changes.mu.Lock()
	defer a.changes.mu.Unlock()
	a.changes.asked++
	return a.changes.err
}

const (
	alice   mail.MailboxID = iota + 1 // three messages
	bob                               // none
	faulty                            // each message has a fault
	grete                             // a name and a password in UTF-8
	vast                              // one message of some MiB
	passing                           // three messages, of which the retrieved go after 36 hours
)

var mailboxes = map[string]mail.MailboxID{
	"alice@me.com": alice, "bob@me.com": bob, "faulty@me.com": faulty, "gr\u00fcn@me.com": grete, "vast@me.com": vast,
	"passing@me.com": passing,
}

var errUnexpected = errors.New("the disk is on fire")

func (a authenticator) Login(_ context.Context, _ netip.Addr, name, password string) (auth.Login, error) {
	switch name {
	case "busy@me.com":
		return auth.Login{}, auth.ErrBusy
	case "trouble@me.com":
		return auth.Login{}, errUnexpected
	}
	want := cmp.Or(a.password, "secret")
	if mailboxes[name] == grete {
		want = "gr\u00fcn"
	}
	id, ok := mailboxes[name]
	switch {
	case !ok:
		return auth.Login{}, &auth.Refusal{Reason: "no such mailbox", Delay: 4 * time.Second}
	case password != want:
		return auth.Login{}, &auth.Refusal{Reason: "wrong password"}
	}
	address, err := mail.ParseAddress(name)
	login := auth.Login{Mailbox: id, Address: address}
	if id == passing {
		login.Retrieved = 36 * time.Hour
	}
	return login, err
}

// expiries is a pop3d.Directory.
type expiries []time.Duration

func (e expiries) Expiries(context.Context) ([]time.Duration, error) {
	if e == nil {
		return nil, errUnexpected
	}
	return e, nil
}
