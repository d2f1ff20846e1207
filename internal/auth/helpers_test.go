package auth

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"mailsrv/internal/bounded"
	"mailsrv/internal/directory"
	"mailsrv/internal/logs"
	"mailsrv/internal/mail"
	store "mailsrv/storage/memory"
)

var (
	home   = netip.MustParseAddr("192.0.2.1")
	abroad = netip.MustParseAddr("198.51.100.7")
)

// people is a directory in memory whose calls can be made to fail.
type people struct {
	*store.Store
	mu      sync.Mutex
	lookErr error
	setErr  error
	sets    int
	onLook  func(a mail.Address)
}

func newPeople() *people {
	p := &people{}
	p.Store = store.New(store.Options{Fault: p.fault})
	return p
}

func (p *people) fault(_ context.Context, c store.Call) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch c.Method {
	case "Lookup":
		if p.onLook != nil {
			p.onLook(c.Address)
		}
		return p.lookErr
	case "SetHash":
		p.sets++
		return p.setErr
	}
	return nil
}

// add gives address an enabled mailbox with this password hash, and its domain if need
// be.
func (p *people) add(t testing.TB, address, hash string) mail.Address {
	t.Helper()
	a, err := mail.ParseAddress(address)
	if err != nil {
		t.Fatal(err)
	}
	a = a.Fold()
	if err := p.AddDomain(t.Context(), directory.Domain{Name: a.Domain}); err != nil && !errors.Is(err, directory.ErrExists) {
		t.Fatal(err)
	}
	if _, err := p.AddMailbox(t.Context(), directory.Mailbox{Address: a, Switches: directory.AllOn, Hash: hash}); err != nil {
		t.Fatal(err)
	}
	return a
}

// change edits a mailbox.
func (p *people) change(t testing.TB, a mail.Address, change func(*directory.Mailbox)) {
	t.Helper()
	if err := p.ChangeMailbox(t.Context(), a, change); err != nil {
		t.Fatal(err)
	}
}

// setHash sets a password as an administrator does.
func (p *people) setHash(t testing.TB, a mail.Address, hash string) {
	t.Helper()
	p.change(t, a, func(m *directory.Mailbox) { m.Hash = hash })
}

// setSwitches switches a mailbox on or off.
func (p *people) setSwitches(t testing.TB, a mail.Address, on directory.Switches) {
	t.Helper()
	p.change(t, a, func(m *directory.Mailbox) { m.Switches = on })
}

// hash is the one of a mailbox now.
func (p *people) hash(t testing.TB, a mail.Address) (hash string) {
	t.Helper()
	p.change(t, a, func(m *directory.Mailbox) { hash = m.Hash })
	return hash
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
	try := f.throttle.begin(f.now(), networksOf(client), identify(name))
	f.throttle.leave(try)
	return try
}

// failures are those that are counted for the network of a client, or for its site.
func (f *fixture) failures(n network) int {
	owed, _ := f.throttle.networks.Get(n.prefix)
	return owed.failures(f.now())
}

// forgetLogins has the next login of each mailbox computed.
func (f *fixture) forgetLogins() {
	f.memory.mu.Lock()
	defer f.memory.mu.Unlock()
	f.memory.verified = bounded.NewTable[digest, time.Time](rememberCount)
}

// ofClient is a place in the queue for who has not logged in before.
func ofClient(client netip.Addr, name uint64) place {
	return place{networks: networksOf(client), name: name}
}

// inQueue is how many wait for a core, and how many have one.
func (f *fixture) inQueue() (waiting, running int) {
	f.queue.mu.Lock()
	defer f.queue.mu.Unlock()
	return len(f.queue.waiting), f.queue.running
}

func mustHash(t testing.TB, password string) string {
	t.Helper()
	hash, err := Hash(password)
	if err != nil {
		t.Fatal(err)
	}
	return hash
}
