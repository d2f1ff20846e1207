package delivery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
	"mailsrv/quota"
	"mailsrv/storage/sqlite"
)

var (
	background = context.Background()
	inherit    = quota.Limit{Octets: quota.Inherit, Messages: quota.Inherit}
	sender     = mail.Client{Addr: netip.MustParseAddr("192.0.2.7"), Helo: "c.example", Protocol: "ESMTP"}
)

// world is an agent on a real store that hosts me.com.
type world struct {
	*testing.T
	store *sqlite.Store
	agent *Agent
}

func newWorld(t *testing.T, s Settings) *world {
	store, err := sqlite.Open(background, t.TempDir(), sqlite.Options{Server: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if n, err := store.Check(background, false, func(s string) { t.Error(s) }); n > 0 || err != nil {
			t.Errorf("check: %d, %v", n, err)
		}
		store.Close()
	})
	w := &world{T: t, store: store}
	w.agent = New(Options{Store: store, Directory: store, Hostname: "mail.me.com", Settings: s})
	w.must(store.AddDomain(background, directory.Domain{Name: "me.com", Limit: inherit}))
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) mailbox(name string, octets int64) {
	w.Helper()
	_, err := w.store.AddMailbox(background, directory.Mailbox{Address: address(name), Enabled: true, Limit: quota.Limit{Octets: octets, Messages: quota.Inherit}})
	w.must(err)
}

func (w *world) messages(name string) int64 {
	w.Helper()
	m, err := w.store.Lookup(background, address(name))
	w.must(err)
	return m.Mailbox.Usage.Messages
}

func (w *world) begin(size int64) *Transaction {
	return w.agent.Begin(sender, address("alice@example.org"), size)
}

func (w *world) wantReason(err error, want Reason) {
	w.Helper()
	var r *Refusal
	if !errors.As(err, &r) || r.Reason != want {
		w.Fatalf("got %v, want reason %d", err, want)
	}
}

// An honest SIZE that was taken at RCPT fits at the commit, to the octet.
func TestDeclaredSizeIsExact(t *testing.T) {
	const size = 200
	w := newWorld(t, Settings{})
	probe := w.begin(size)
	trace := probe.traceOctets(address("a@me.com"))
	w.mailbox("a@me.com", size+trace)
	w.mailbox("b@me.com", size+trace-1)
	w.must(probe.AddRecipient(background, address("a@me.com")))
	w.wantReason(w.begin(size).AddRecipient(background, address("b@me.com")), TooLargeForBox)
	octets, err := probe.Deliver(background, strings.NewReader("\r\n"+strings.Repeat("x", size-4)+"\r\n"))
	w.must(err)
	m, err := w.store.Lookup(background, address("a@me.com"))
	w.must(err)
	if m.Mailbox.Usage.Octets != size+trace || octets != size+trace {
		t.Errorf("usage %+v after %d octets, want %d", m.Mailbox.Usage, octets, size+trace)
	}
}

func TestFullIsDeferredWhereSet(t *testing.T) {
	w := newWorld(t, Settings{Defer: true, Limit: quota.Limit{Messages: 1}})
	w.mailbox("a@me.com", quota.Inherit)
	tr := w.begin(0)
	w.must(tr.AddRecipient(background, address("a@me.com")))
	_, err := tr.Deliver(background, strings.NewReader("x\r\n"))
	w.must(err)
	w.wantReason(w.begin(0).AddRecipient(background, address("a@me.com")), FullDeferred)
	w.agent.SetSettings(Settings{Limit: quota.Limit{Messages: 1}})
	w.wantReason(w.begin(0).AddRecipient(background, address("a@me.com")), Full)
	w.agent.SetSettings(Settings{Limit: quota.Limit{Octets: 10}})
	w.wantReason(w.begin(0).AddRecipient(background, address("a@me.com")), TooLargeForBox)
}

// What did not fit beside another is answered by itself at every later attempt.
func TestMisfitsShareNoTransaction(t *testing.T) {
	w := newWorld(t, Settings{})
	w.mailbox("a@me.com", quota.Inherit)
	w.mailbox("b@me.com", 500)
	text := strings.Repeat("x", 600) + "\r\n"
	tr := w.begin(0)
	w.must(tr.AddRecipient(background, address("a@me.com")))
	w.must(tr.AddRecipient(background, address("b@me.com")))
	_, err := tr.Deliver(background, strings.NewReader(text))
	w.wantReason(err, SomeFull)
	if n := w.messages("a@me.com"); n != 0 {
		t.Fatalf("a holds %d messages", n)
	}
	tr = w.begin(0)
	w.must(tr.AddRecipient(background, address("a@me.com")))
	w.wantReason(tr.AddRecipient(background, address("B@me.com")), MustBeAlone)
	_, err = tr.Deliver(background, strings.NewReader(text))
	w.must(err)
	tr = w.begin(0)
	w.must(tr.AddRecipient(background, address("b@me.com")))
	w.wantReason(tr.AddRecipient(background, address("a@me.com")), MustBeAlone)
	_, err = tr.Deliver(background, strings.NewReader(text))
	w.wantReason(err, TooLargeForBox)
	// Another sender, or this one a day later, is not concerned.
	tr = w.agent.Begin(sender, address("bob@example.org"), 0)
	w.must(tr.AddRecipient(background, address("a@me.com")))
	w.must(tr.AddRecipient(background, address("b@me.com")))
	w.agent.now = func() time.Time { return time.Now().Add(25 * time.Hour) }
	tr = w.begin(0)
	w.must(tr.AddRecipient(background, address("a@me.com")))
	w.must(tr.AddRecipient(background, address("b@me.com")))
}

// A recipient that changes between RCPT and the commit.
func TestChangesBeforeTheCommit(t *testing.T) {
	w := newWorld(t, Settings{})
	for _, lone := range []bool{true, false} {
		for change, want := range map[string]Reason{"removed": NoMailbox, "disabled": Disabled, "lowered": TooLargeForBox} {
			name := fmt.Sprintf("%s-%v@me.com", change, lone)
			w.mailbox(name, quota.Inherit)
			tr := w.begin(0)
			w.must(tr.AddRecipient(background, address(name)))
			if !lone {
				other := "other-" + name
				w.mailbox(other, quota.Inherit)
				w.must(tr.AddRecipient(background, address(other)))
				want = Vanished
				if change == "lowered" {
					want = SomeFull
				}
			}
			if change == "removed" {
				_, err := w.store.RemoveMailbox(background, address(name))
				w.must(err)
			} else {
				w.must(w.store.ChangeMailbox(background, address(name), func(m *directory.Mailbox) {
					m.Enabled = change != "disabled"
					if change == "lowered" {
						m.Limit.Octets = 1
					}
				}))
			}
			_, err := tr.Deliver(background, strings.NewReader("x\r\n"))
			w.wantReason(err, want)
		}
	}
}

func TestAliasTargetFull(t *testing.T) {
	w := newWorld(t, Settings{Limit: quota.Limit{Messages: 1}})
	w.mailbox("a@me.com", quota.Inherit)
	w.must(w.store.AddAlias(background, directory.Alias{Address: address("all@me.com"), Targets: []mail.Address{address("a@me.com")}}))
	waiting := w.begin(0)
	w.must(waiting.AddRecipient(background, address("all@me.com")))
	tr := w.begin(0)
	w.must(tr.AddRecipient(background, address("all@me.com")))
	_, err := tr.Deliver(background, strings.NewReader("x\r\n"))
	w.must(err)
	_, err = waiting.Deliver(background, strings.NewReader("x\r\n"))
	w.wantReason(err, TargetFull)
	w.wantReason(w.begin(0).AddRecipient(background, address("all@me.com")), TargetFull)
}

func TestBareNewlineIsRefusedWhereSet(t *testing.T) {
	w := newWorld(t, Settings{RejectBareNewline: true})
	w.mailbox("a@me.com", quota.Inherit)
	for text, ok := range map[string]bool{"a\r\nb\r\n": true, "a\nb\r\n": false, "a\rb\r\n": false} {
		tr := w.begin(0)
		w.must(tr.AddRecipient(background, address("a@me.com")))
		_, err := tr.Deliver(background, strings.NewReader(text))
		if ok {
			w.must(err)
		} else {
			w.wantReason(err, BareNewline)
		}
	}
}

// A reader that fails stores nothing, and its error is told apart.
func TestBrokenContent(t *testing.T) {
	w := newWorld(t, Settings{})
	w.mailbox("a@me.com", quota.Inherit)
	tr := w.begin(0)
	w.must(tr.AddRecipient(background, address("a@me.com")))
	_, err := tr.Deliver(background, io.MultiReader(strings.NewReader(strings.Repeat("x", 600<<10)), brokenReader{}))
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("got %v", err)
	}
	if n := w.messages("a@me.com"); n != 0 {
		t.Fatalf("%d messages", n)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestPostmasterWithoutDomain(t *testing.T) {
	w := newWorld(t, Settings{})
	got, err := w.agent.Postmaster(background)
	w.must(err)
	if got != address("postmaster@me.com") {
		t.Errorf("got %v", got)
	}
	w.agent.hostname = "mx.elsewhere.example"
	if got, err = w.agent.Postmaster(background); err != nil || got != address("postmaster@me.com") {
		t.Errorf("got %v, %v", got, err)
	}
	w.must(w.store.RemoveDomain(background, "me.com"))
	_, err = w.agent.Postmaster(background)
	w.wantReason(err, NoMailbox)
}

func TestMemoryIsBounded(t *testing.T) {
	var m memory
	now := time.Now()
	key := func(i int) memoryKey {
		return newMemoryKey(sender.Addr, mail.Address{}, mail.Address{Local: fmt.Sprint(i), Domain: "me.com"})
	}
	for i := range memorySize + 10 {
		m.add(key(i), now)
		m.add(key(i), now)
	}
	if len(m.since) != memorySize || len(m.order) != memorySize {
		t.Fatalf("%d keys, %d in order", len(m.since), len(m.order))
	}
	if m.has(key(9), now) || !m.has(key(10), now) || m.has(key(10), now.Add(memoryAge)) {
		t.Error("the oldest goes first, and all after a day")
	}
}
