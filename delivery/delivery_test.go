package delivery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"mailsrv/internal/directory"
	"mailsrv/internal/logs"
	"mailsrv/internal/mail"
	"mailsrv/internal/refusal"
	"mailsrv/quota"
	"mailsrv/storage"
	"mailsrv/storage/memory"
	"mailsrv/storage/storagetest"
)

var (
	background = context.Background()
	sender     = mail.Client{Addr: netip.MustParseAddr("192.0.2.7"), Helo: "c.example", Protocol: "ESMTP"}
)

// world is an agent on a new store that hosts me.com.
type world struct {
	*testing.T
	store storagetest.Backend
	agent *Agent
	log   logs.Recorder
}

func newWorld(t *testing.T, s Settings) *world {
	return newWorldOn(t, memory.New(memory.Options{}), s)
}

func newWorldOn(t *testing.T, store storagetest.Backend, s Settings) *world {
	t.Cleanup(func() {
		if n, err := store.Check(background, false, func(f storage.Finding) { t.Error(f) }); n > 0 || err != nil {
			t.Errorf("check: %d, %v", n, err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{T: t, store: store}
	logger, err := logs.New(&w.log, "text", new(slog.LevelVar))
	w.must(err)
	w.agent = New(Options{Store: store, Directory: store, Hostname: "mail.me.com", Logger: logger, Settings: s})
	w.must(store.AddDomain(background, directory.Domain{Name: "me.com"}))
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
	_, err := w.store.AddMailbox(background, directory.Mailbox{Address: address(name), Switches: directory.AllOn, Policy: directory.Policy{Limit: quota.Limit{Octets: octets}}})
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

func (w *world) wantReason(err error, want refusal.Reason) {
	w.Helper()
	if r := refusal.Of(err); r == nil || r.Reason != want {
		w.Fatalf("got %v, want reason %d", err, want)
	}
}

// A message of exactly the declared SIZE that fits at RCPT fits at the commit, to the
// octet.
func TestDeclaredSizeIsExact(t *testing.T) {
	const size = 200
	w := newWorld(t, Settings{})
	probe := w.begin(size)
	trace := probe.traceOctets(address("a@me.com"))
	w.mailbox("a@me.com", size+trace)
	w.mailbox("b@me.com", size+trace-1)
	w.must(probe.AddRecipient(background, address("a@me.com")))
	w.wantReason(w.begin(size).AddRecipient(background, address("b@me.com")), refusal.TooLargeForBox)
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
	w.wantReason(w.begin(0).AddRecipient(background, address("a@me.com")), refusal.FullDeferred)
	w.agent.SetSettings(Settings{Limit: quota.Limit{Messages: 1}})
	w.wantReason(w.begin(0).AddRecipient(background, address("a@me.com")), refusal.Full)
	w.agent.SetSettings(Settings{Limit: quota.Limit{Octets: 10}})
	w.wantReason(w.begin(0).AddRecipient(background, address("a@me.com")), refusal.TooLargeForBox)
}

// A recipient that had no room beside another has to be alone at later attempts.
func TestMisfitsShareNoTransaction(t *testing.T) {
	w := newWorld(t, Settings{})
	w.mailbox("a@me.com", quota.Inherit)
	w.mailbox("b@me.com", 500)
	text := strings.Repeat("x", 600) + "\r\n"
	tr := w.begin(0)
	w.must(tr.AddRecipient(background, address("a@me.com")))
	w.must(tr.AddRecipient(background, address("b@me.com")))
	_, err := tr.Deliver(background, strings.NewReader(text))
	w.wantReason(err, refusal.SomeFull)
	if n := w.messages("a@me.com"); n != 0 {
		t.Fatalf("a holds %d messages", n)
	}
	tr = w.begin(0)
	w.must(tr.AddRecipient(background, address("a@me.com")))
	w.wantReason(tr.AddRecipient(background, address("B@me.com")), refusal.MustBeAlone)
	_, err = tr.Deliver(background, strings.NewReader(text))
	w.must(err)
	tr = w.begin(0)
	w.must(tr.AddRecipient(background, address("b@me.com")))
	w.wantReason(tr.AddRecipient(background, address("a@me.com")), refusal.MustBeAlone)
	_, err = tr.Deliver(background, strings.NewReader(text))
	w.wantReason(err, refusal.TooLargeForBox)
	// This holds for this sender only, and for a day.
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
		for change, want := range map[string]refusal.Reason{"removed": refusal.NoMailbox, "disabled": refusal.Disabled, "lowered": refusal.TooLargeForBox} {
			name := fmt.Sprintf("%s-%v@me.com", change, lone)
			w.mailbox(name, quota.Inherit)
			tr := w.begin(0)
			w.must(tr.AddRecipient(background, address(name)))
			if !lone {
				other := "other-" + name
				w.mailbox(other, quota.Inherit)
				w.must(tr.AddRecipient(background, address(other)))
				want = refusal.Changed
				if change == "lowered" {
					want = refusal.SomeFull
				}
			}
			if change == "removed" {
				_, err := w.store.RemoveMailbox(background, address(name))
				w.must(err)
			} else {
				w.must(w.store.ChangeMailbox(background, address(name), func(m *directory.Mailbox) {
					if change == "disabled" {
						m.Switches = 0
					}
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
	w.wantReason(err, refusal.TargetFull)
	w.wantReason(w.begin(0).AddRecipient(background, address("all@me.com")), refusal.TargetFull)
}

// A target of an alias that can never take a message is left out if other targets can,
// whether RCPT or the commit finds out.
func TestTargetsThatCannotAreLeftOut(t *testing.T) {
	const text = "\r\nlarge enough for the small ones\r\n"
	for _, test := range []struct {
		name    string
		targets string // of one alias: the state of each before RCPT and before the commit
		direct  string // the state of a recipient beside the alias, if any
		size    int64
		refused error // by RCPT
		late    error // by the commit
		left    int   // lines of the log
	}{
		{"all well", "ok/ok ok/ok", "", 0, nil, nil, 0},
		{"one disabled", "ok/ok off/off", "", 0, nil, nil, 1},
		{"one too small, declared", "small/small ok/ok", "", int64(len(text)), nil, nil, 1},
		{"one too small, not declared", "small/small ok/ok", "", 0, nil, nil, 1},
		{"one of each", "small/small off/off ok/ok", "", int64(len(text)), nil, nil, 2},
		{"disabled meanwhile", "ok/ok ok/off", "", 0, nil, nil, 1},
		{"one full", "ok/ok full/full", "", 0, &refusal.Refusal{Reason: refusal.TargetFull}, nil, 0},
		{"one full, one off", "full/full off/off", "", 0, &refusal.Refusal{Reason: refusal.TargetFull}, nil, 0},
		{"full meanwhile, another off", "ok/full ok/off ok/ok", "", 0, nil, &refusal.Refusal{Reason: refusal.TargetFull}, 0},
		{"none but disabled", "off/off off/off", "", 0, &refusal.Refusal{Reason: refusal.Disabled}, nil, 0},
		{"none but too small", "small/small off/off", "", int64(len(text)), &refusal.Refusal{Reason: refusal.TooLargeForBox}, nil, 0},
		{"none but too small, not declared", "small/small", "", 0, nil, &refusal.Refusal{Reason: refusal.TooLargeForBox}, 0},
		{"all disabled meanwhile", "ok/off ok/off", "", 0, nil, &refusal.Refusal{Reason: refusal.Disabled}, 0},
		{"beside another", "ok/ok ok/off", "ok/ok", 0, nil, nil, 1},
		{"a direct recipient is not left out", "ok/ok", "ok/off", 0, nil, &refusal.Refusal{Reason: refusal.Changed}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, Settings{})
			states := strings.Fields(test.targets + " " + test.direct)
			set := func(i int, state string) {
				w.must(w.store.ChangeMailbox(background, address(fmt.Sprintf("t%d@me.com", i)), func(m *directory.Mailbox) {
					m.Switches, m.Limit = directory.AllOn, quota.Limit{}
					switch state {
					case "off":
						m.Switches = 0
					case "small":
						m.Limit.Octets = w.begin(0).traceOctets(address("all@me.com")) + 10
					case "full":
						m.Limit.Messages = 1
					}
				}))
			}
			alias := directory.Alias{Address: address("all@me.com")}
			for i, state := range states {
				name := fmt.Sprintf("t%d@me.com", i)
				w.mailbox(name, quota.Inherit)
				if strings.Contains(state, "full") {
					w.deliver(name, "\r\n")
				}
				before, _, _ := strings.Cut(state, "/")
				set(i, before)
				if i < len(strings.Fields(test.targets)) {
					alias.Targets = append(alias.Targets, address(name))
				}
			}
			w.must(w.store.AddAlias(background, alias))

			tr := w.begin(test.size)
			if err := tr.AddRecipient(background, alias.Address); !sameReason(err, test.refused) {
				t.Fatalf("RCPT: %v, want %v", err, test.refused)
			}
			if test.refused != nil {
				return
			}
			if test.direct != "" {
				w.must(tr.AddRecipient(background, address(fmt.Sprintf("t%d@me.com", len(states)-1))))
			}
			before := make([]int64, len(states))
			for i, state := range states {
				_, late, _ := strings.Cut(state, "/")
				set(i, late)
				before[i] = w.messages(fmt.Sprintf("t%d@me.com", i))
			}
			if _, err := tr.Deliver(background, strings.NewReader(text)); !sameReason(err, test.late) {
				t.Fatalf("commit: %v, want %v", err, test.late)
			}
			for i, state := range states {
				name, want := fmt.Sprintf("t%d@me.com", i), before[i]
				if test.late == nil && state == "ok/ok" {
					want++
				}
				if got := w.messages(name); got != want {
					t.Errorf("%s (%s) holds %d messages, want %d", name, state, got, want)
				}
			}
			if n := strings.Count(w.log.String(), `msg="left out"`); n != test.left {
				t.Errorf("%d left out, want %d: %s", n, test.left, w.log.String())
			}
		})
	}
}

func sameReason(got, want error) bool {
	if want == nil || got == nil {
		return got == want
	}
	g, w := refusal.Of(got), refusal.Of(want)
	return g != nil && g.Reason == w.Reason
}

// A full maildrop is logged once, and once more when it has room again.
func TestFullMaildropIsWarnedOfOnce(t *testing.T) {
	w := newWorld(t, Settings{Limit: quota.Limit{Octets: 1000}})
	w.mailbox("a@me.com", quota.Inherit)
	refused := func(size int64) {
		t.Helper()
		w.wantReason(w.begin(size).AddRecipient(background, address("a@me.com")), refusal.Full)
	}
	warnings := func() (full, room int) {
		for line := range strings.Lines(w.log.String()) {
			if strings.Contains(line, "level=WARN msg=warning mailbox=a@me.com messages=1 octets=") {
				full++
			}
			if strings.Contains(line, "level=WARN msg=warning mailbox=a@me.com refused=3 ") {
				room++
			}
		}
		return full, room
	}
	w.deliver("a@me.com", "\r\n"+strings.Repeat("x", 300)+"\r\n")
	refused(700)
	refused(700)
	late := w.begin(0) // the commit will find the maildrop full
	w.must(late.AddRecipient(background, address("a@me.com")))
	_, err := late.Deliver(background, strings.NewReader("\r\n"+strings.Repeat("x", 700)+"\r\n"))
	w.wantReason(err, refusal.Full)
	w.must(w.begin(1).AddRecipient(background, address("a@me.com"))) // a small one fits: nothing has changed
	if full, room := warnings(); full != 1 || room != 0 {
		t.Errorf("%d and %d warnings: %s", full, room, w.log.String())
	}
	w.must(w.store.ChangeMailbox(background, address("a@me.com"), func(m *directory.Mailbox) { m.Limit.Octets = 2000 }))
	w.must(w.begin(700).AddRecipient(background, address("a@me.com")))
	w.must(w.begin(700).AddRecipient(background, address("a@me.com")))
	if full, room := warnings(); full != 1 || room != 1 {
		t.Errorf("%d and %d warnings: %s", full, room, w.log.String())
	}
	refused(1700)
	if full, _ := warnings(); full != 2 {
		t.Errorf("no warning when it is full again: %s", w.log.String())
	}
}

// deliver commits one message.
func (w *world) deliver(to, text string) {
	w.Helper()
	tr := w.begin(0)
	w.must(tr.AddRecipient(background, address(to)))
	_, err := tr.Deliver(background, strings.NewReader(text))
	w.must(err)
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
			w.wantReason(err, refusal.BareNewline)
		}
	}
}

// If the content's reader fails, nothing is stored and its error comes back wrapped.
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
	w.must(w.store.AddDomain(background, directory.Domain{Name: "empty.example"})) // comes first by name
	w.mailbox("first@me.com", quota.Inherit)
	got, err := w.agent.Postmaster(background)
	w.must(err)
	if got != address("postmaster@me.com") {
		t.Errorf("got %v", got)
	}
	w.agent.hostname = "mx.elsewhere.example"
	if got, err = w.agent.Postmaster(background); err != nil || got != address("postmaster@me.com") {
		t.Errorf("got %v, %v", got, err)
	}
	_, err = w.store.RemoveMailbox(background, address("first@me.com"))
	w.must(err)
	_, err = w.agent.Postmaster(background)
	w.wantReason(err, refusal.NoMailbox)
}

func TestMemoryIsBounded(t *testing.T) {
	var m shortage
	now := time.Now()
	key := func(i int) misfitKey {
		return newMisfitKey(sender.Addr, mail.Address{}, mail.Address{Local: fmt.Sprint(i), Domain: "me.com"})
	}
	for i := range memorySize + 10 {
		m.add(key(i), now)
		m.add(key(i), now)
	}
	if len(m.since.values) != memorySize || len(m.since.order) != memorySize {
		t.Fatalf("%d keys, %d in order", len(m.since.values), len(m.since.order))
	}
	if m.has(key(9), now) || !m.has(key(10), now) || m.has(key(10), now.Add(memoryAge)) {
		t.Error("the oldest goes first, and all after a day")
	}
}

// The time of arrival is that of the last octet: IMAP's internal date (RFC 9051 section
// 2.3.3).
func TestArrival(t *testing.T) {
	w := newWorld(t, Settings{})
	w.mailbox("a@me.com", quota.Inherit)
	w.agent.now = func() time.Time { return time.Unix(1_700_000_000, 999) }
	tr := w.begin(0)
	w.must(tr.AddRecipient(background, address("a@me.com")))
	_, err := tr.Deliver(background, strings.NewReader("x\r\n"))
	w.must(err)
	found, err := w.store.Lookup(background, address("a@me.com"))
	w.must(err)
	drop, err := w.store.OpenMaildrop(background, found.Mailbox.ID)
	w.must(err)
	entries, err := drop.Details(background, 0, 10)
	w.must(err)
	if len(entries) != 1 || entries[0].Arrived != 1_700_000_000 || entries[0].Flags != 0 {
		t.Errorf("entries %+v", entries)
	}
}
