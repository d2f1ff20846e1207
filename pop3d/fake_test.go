package pop3d_test

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"mailsrv/internal/auth"
	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
	"mailsrv/storage"
	"mailsrv/storage/memory"
)

// message is what a maildrop of the tests is given, and what goes wrong with it.
type message struct {
	text, uidl string
	openErr    error // from Message
	nextErr    error // from Next, after nextAt octets
	nextAt     int
	panics     bool          // in Next
	stall      chan struct{} // Next waits until it is closed
}

// store is a store in memory whose reading can be made to fail.
type store struct {
	*memory.Store

	mu      sync.Mutex
	faulty  map[string]message // by UIDL
	failing map[string]error   // of methods
	calls   []string           // of methods of Maildrop, and OpenMaildrop, in order
	noted   []string           // UIDLs that Update was told were retrieved
	opening chan struct{}      // OpenMaildrop waits until it is closed
}

// newStore makes a store whose messages come in pieces of piece octets; 0: whole.
func newStore(piece int) *store { return newStoreWith(memory.Options{Piece: piece}) }

func newStoreWith(o memory.Options) *store {
	s := &store{faulty: map[string]message{}, failing: map[string]error{}}
	o.Fault = s.fault
	s.Store = memory.New(o)
	must(s.AddDomain(ours, directory.Domain{Name: "me.com"}))
	for id, name := range mailboxes {
		address, err := mail.ParseAddress(name)
		must(err)
		got, err := s.AddMailbox(ours, directory.Mailbox{Address: address, Switches: directory.AllOn})
		must(err)
		if want := mail.MailboxID(id + 1); got != want {
			panic("the mailboxes are numbered in another way")
		}
	}
	three := []message{
		{uidl: "one", text: "Subject: one\r\n\r\nline 1\r\n.line 2\r\n..\r\n.\r\nline 5\r\n"},
		{uidl: "two", text: ".dot: first\r\nSubject: two\r\n\r\n"},
		{uidl: "three", text: "Subject: three\r\n\r\nbody\x00\xff\r\n"},
	}
	s.put(alice, three...)
	s.put(passing, three...)
	s.put(faulty,
		message{uidl: "gone", text: "x\r\n", openErr: storage.ErrGone},
		message{uidl: "damaged", text: "x\r\n", openErr: storage.ErrDamaged},
		message{uidl: "unexpected", text: "x\r\n", openErr: errUnexpected},
		message{uidl: "damaged-first", text: "x\r\n", nextErr: storage.ErrDamaged},
		message{uidl: "damaged-later", text: "Subject: x\r\n\r\nbody\r\n", nextErr: storage.ErrDamaged, nextAt: 14},
		message{uidl: "gone-later", text: "Subject: x\r\n\r\nbody\r\n", nextErr: storage.ErrGone, nextAt: 14},
		message{uidl: "empty"},
		message{uidl: "panics", text: "x\r\n", panics: true},
	)
	s.put(grete, message{uidl: "g", text: "Subject: gr\u00fcn\r\n\r\ngr\u00fcn\r\n"})
	return s
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// ours is the context of what the tests themselves ask of a store: no fault of theirs
// is meant for that.
var ours = context.WithValue(context.Background(), oursKey{}, true)

type oursKey struct{}

// put delivers messages.
func (s *store) put(id mail.MailboxID, all ...message) {
	for _, m := range all {
		b, err := s.NewBody(ours, 0)
		must(err)
		// What comes first is a piece of its own.
		_, err = io.WriteString(b, m.text[m.nextAt:])
		must(err)
		_, err = s.Deliver(ours, &storage.Delivery{ID: m.uidl, Trace: m.text[:m.nextAt], Body: b, To: []storage.Recipient{{Mailbox: id}}})
		must(err)
		b.Discard()
		s.mu.Lock()
		s.faulty[m.uidl] = m
		s.mu.Unlock()
	}
}

// fail lets a method fail from now on; nil: no more.
func (s *store) fail(method string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing[method] = err
}

// called returns the calls of the sessions.
func (s *store) called() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.calls, " ")
}

// retrieved returns the UIDLs that were noted.
func (s *store) retrieved() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.noted, " ")
}

// left returns the UIDLs in a maildrop.
func (s *store) left(id mail.MailboxID) (uidls []string) {
	drop, err := s.OpenMaildrop(ours, id)
	must(err)
	entries, err := storage.AllEntries(ours, drop)
	must(err)
	for _, e := range entries {
		uidls = append(uidls, e.UIDL)
	}
	return uidls
}

// uidls returns the UIDLs of messages in a maildrop.
func (s *store) uidls(id mail.MailboxID, uids []storage.UID) (uidls []string) {
	drop, err := s.OpenMaildrop(ours, id)
	must(err)
	entries, err := storage.AllEntries(ours, drop)
	must(err)
	for _, e := range entries {
		if slices.Contains(uids, e.UID) {
			uidls = append(uidls, e.UIDL)
		}
	}
	return uidls
}

// fault is what happens to a call of a session.
func (s *store) fault(ctx context.Context, c memory.Call) error {
	if ctx.Value(oursKey{}) != nil {
		return nil
	}
	s.mu.Lock()
	m, wait, err := s.faulty[c.Entry.UIDL], chan struct{}(nil), s.failing[c.Method]
	if c.Method != "Next" && c.Method != "Claim" {
		s.calls = append(s.calls, c.Method)
	}
	switch c.Method {
	case "OpenMaildrop":
		wait = s.opening
	case "Message":
		err = m.openErr
	case "Next":
		wait = m.stall
		if c.At >= int64(m.nextAt) {
			err = m.nextErr
		}
	case "Update":
		if err == nil {
			s.noted = append(s.noted, s.uidls(c.Mailbox, c.Retrieved)...)
		}
	}
	s.mu.Unlock()
	if wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if m.panics && c.Method == "Next" {
		panic("a fault of the test")
	}
	return err
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
	vast                              // none; for one of some MiB
	passing                           // three messages, of which the retrieved go after 36 hours
)

// mailboxes are their names, in that order.
var mailboxes = []string{"alice@me.com", "bob@me.com", "faulty@me.com", "gr\u00fcn@me.com", "vast@me.com", "passing@me.com"}

var errUnexpected = errors.New("the disk is on fire")

func (a authenticator) Login(_ context.Context, _ netip.Addr, name, password string) (auth.Login, error) {
	switch name {
	case "busy@me.com":
		return auth.Login{}, auth.ErrBusy
	case "trouble@me.com":
		return auth.Login{}, errUnexpected
	}
	want := cmp.Or(a.password, "secret")
	id := mail.MailboxID(slices.Index(mailboxes, name) + 1)
	if id == grete {
		want = "gr\u00fcn"
	}
	switch {
	case id == 0:
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
