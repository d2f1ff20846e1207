package auth

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"mailsrv/internal/directory"
	"mailsrv/internal/listen"
	"mailsrv/internal/logs"
	"mailsrv/internal/mail"
)

var (
	home   = netip.MustParseAddr("192.0.2.1")
	abroad = netip.MustParseAddr("198.51.100.7")
)

// people is a directory in memory.
type people struct {
	mu      sync.Mutex
	matches map[mail.Address]directory.Match
	lookErr error
	setErr  error
	sets    int
	onLook  func(a mail.Address)
}

func newPeople() *people { return &people{matches: map[mail.Address]directory.Match{}} }

// add gives address an enabled mailbox with this password hash.
func (p *people) add(t testing.TB, address, hash string) *directory.Mailbox {
	t.Helper()
	a, err := mail.ParseAddress(address)
	if err != nil {
		t.Fatal(err)
	}
	m := &directory.Mailbox{ID: mail.MailboxID(len(p.matches) + 1), Address: a.Fold(), Switches: directory.AllOn, Hash: hash}
	p.matches[m.Address] = directory.Match{Hosted: true, Mailbox: m}
	return m
}

func (p *people) Lookup(_ context.Context, a mail.Address) (directory.Match, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.onLook != nil {
		p.onLook(a)
	}
	m := p.matches[a]
	m.Hosted = a.Domain == "me.com"
	if m.Mailbox != nil {
		row := *m.Mailbox
		m.Mailbox = &row
	}
	return m, p.lookErr
}

func (p *people) SetHash(ctx context.Context, id mail.MailboxID, old, hash string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sets++
	if err := errors.Join(ctx.Err(), p.setErr); err != nil {
		return err
	}
	for _, m := range p.matches {
		if m.Mailbox != nil && m.Mailbox.ID == id && m.Mailbox.Hash == old {
			m.Mailbox.Hash = hash
		}
	}
	return nil
}

func (p *people) hash(m *directory.Mailbox) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return m.Hash
}

// clock passes when somebody sleeps, or when it is told to.
type clock struct {
	mu   sync.Mutex
	time time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.time
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.time = c.time.Add(d)
}

func (c *clock) sleep(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.pass(max(d, 0))
	return nil
}

// fixture is an Authenticator on a clock of its own, which counts what it
// computes.
type fixture struct {
	*Authenticator
	people   *people
	clock    *clock
	mu       sync.Mutex
	computed int
}

func newFixture() *fixture {
	f := &fixture{people: newPeople(), clock: &clock{time: time.Unix(1_700_000_000, 0)}}
	f.Authenticator = New(f.people, Options{Logger: logs.Discard()})
	f.now, f.sleep = f.clock.now, f.clock.sleep
	real := f.compute
	f.compute = func(h passwordHash, password string) bool {
		f.mu.Lock()
		f.computed++
		f.mu.Unlock()
		return real(h, password)
	}
	return f
}

// pretend makes every computation cost nothing and match one password.
func (f *fixture) pretend(right string) {
	f.compute = func(_ passwordHash, password string) bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.computed++
		return password == right
	}
}

// login logs in and returns how long that took on the fixture's clock.
func (f *fixture) login(t testing.TB, client netip.Addr, name, password string) (time.Duration, error) {
	t.Helper()
	began := f.clock.now()
	_, err := f.Login(t.Context(), client, name, password)
	return f.clock.now().Sub(began), err
}

// attempt is one of which nothing came.
func (f *fixture) attempt(client netip.Addr, name string) attempt {
	try := f.throttle.begin(f.now(), listen.Network(client), identify(name))
	f.throttle.leave(try)
	return try
}

func mustHash(t testing.TB, password string) string {
	t.Helper()
	hash, err := Hash(password)
	if err != nil {
		t.Fatal(err)
	}
	return hash
}
