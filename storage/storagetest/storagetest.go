// Package storagetest is the contract suite that every storage backend passes.
// After each case it recounts: the counters must equal the rows.
package storagetest

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"mailsrv/internal/buffers"
	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
	"mailsrv/quota"
	"mailsrv/storage"
)

// Backend is what a backend offers to the suite.
type Backend interface {
	storage.Deliverer
	storage.Maildrops
	storage.Claims
	storage.Undeleter
	storage.Collector
	storage.Checker
	directory.Directory
	Close() error
}

// Limits are what a backend is opened with.
type Limits struct {
	MinFree   int64         // octets; 0: none
	MaxStaged int64         // octets; 0: no limit
	Buffers   *buffers.Pool // nil: the backend's own
	Limit     quota.Limit   // of what mailboxes keep aside that inherit theirs
	MaxAside  int64         // octets kept aside, of all mailboxes; 0: as much as the tests need
}

// Hooks bring about what nobody can who calls the contract.
type Hooks struct {
	// Open opens the backend kept in dir, which is empty the first time.
	Open func(t *testing.T, dir string, l Limits) Backend
	// Damage spoils all content that is stored.
	Damage func(t *testing.T, b Backend)
	// ReadOnly has the backend fail so often that it writes nothing more.
	ReadOnly func(t *testing.T, b Backend)
}

// Run runs the whole suite.
func Run(t *testing.T, hooks Hooks) {
	cases := map[string]func(*testing.T, *fixture){
		"Deliver":          testDeliver,
		"DeliverLong":      testDeliverLong,
		"DeliverMany":      testDeliverMany,
		"AllOrNone":        testAllOrNone,
		"Limits":           testLimits,
		"LimitsInherit":    testLimitsInherit,
		"LimitRace":        testLimitRace,
		"MailboxStates":    testMailboxStates,
		"CancelledContext": testCancelledContext,
		"Discard":          testDiscard,
		"Snapshot":         testSnapshot,
		"Expunge":          testExpunge,
		"ExpungeShared":    testExpungeShared,
		"GoneMessages":     testGoneMessages,
		"Reopen":           testReopen,
		"RemoveMailbox":    testRemoveMailbox,
		"Expire":           testExpire,
		"ExpireMany":       testExpireMany,
		"Expiries":         testExpiries,
		"Undelete":         testUndelete,
		"UndeletedIsNew":   testUndeletedIsNew,
		"RemoveDeleted":    testRemoveWithDeleted,
		"AsideBound":       testAsideBound,
		"AsideTotal":       testAsideTotal,
		"AsideOff":         testAsideOff,
		"Domains":          testDomains,
		"Mailboxes":        testMailboxes,
		"Aliases":          testAliases,
		"Postmaster":       testPostmaster,
		"Receipt":          testReceipt,
		"BroughtAlong":     testBroughtAlong,
		"ModSeq":           testModSeq,
		"FolderEnded":      testFolderEnded,
		"NoFolder":         testNoFolder,
		"Switches":         testSwitches,
		"Pieces":           testPieces,
		"Offsets":          testOffsets,
		"ScatteredChange":  testScatteredChange,
		"Claims":           testClaims,
		"Fence":            testFence,
		"NoSpace":          testNoSpace,
		"StagedFull":       testStagedFull,
		"NoMemory":         testNoMemory,
		"Damaged":          testDamaged,
		"ReadOnly":         testReadOnly,
		"Random":           testRandom,
	}
	for name, run := range cases {
		t.Run(name, func(t *testing.T) {
			f := &fixture{t: t, dir: t.TempDir(), hooks: hooks}
			f.Backend = hooks.Open(t, f.dir, Limits{})
			t.Cleanup(func() { f.Close() })
			run(t, f)
			if !f.damaged {
				f.recount()
			}
		})
	}
}

// fixture is a backend with the small verbs that the cases are written in.
type fixture struct {
	Backend
	t       *testing.T
	dir     string
	hooks   Hooks
	damaged bool // a case did damage, which a recount finds
}

var background = context.Background()

func (f *fixture) recount() {
	f.t.Helper()
	remaining, err := f.Check(background, false, func(finding storage.Finding) { f.t.Errorf("check: %s", finding) })
	if err != nil || remaining != 0 {
		f.t.Errorf("check: %d findings, %v", remaining, err)
	}
}

func (f *fixture) reopen() { f.t.Helper(); f.reopenWith(Limits{}) }

func (f *fixture) reopenWith(l Limits) {
	f.t.Helper()
	f.must(f.Close())
	f.Backend = f.hooks.Open(f.t, f.dir, l)
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) wantError(got, want error) {
	f.t.Helper()
	if !errors.Is(got, want) {
		f.t.Fatalf("got error %v, want %v", got, want)
	}
}

func address(s string) mail.Address {
	if domain, ok := strings.CutPrefix(s, "@"); ok {
		return mail.Address{Domain: domain}
	}
	a, err := mail.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

var inherit quota.Limit

func (f *fixture) domain(name string) {
	f.t.Helper()
	f.must(f.AddDomain(background, directory.Domain{Name: name}))
}

// mailbox adds a mailbox, and its domain if need be.
func (f *fixture) mailbox(name string, limit quota.Limit) mail.MailboxID {
	f.t.Helper()
	a := address(name)
	if _, err := f.Domain(background, a.Domain); errors.Is(err, directory.ErrNotFound) {
		f.domain(a.Domain)
	}
	id, err := f.AddMailbox(background, directory.Mailbox{Address: a, Switches: directory.AllOn, Hash: "x", Policy: directory.Policy{Limit: limit}})
	f.must(err)
	return id
}

func (f *fixture) limit(name string, l quota.Limit) {
	f.t.Helper()
	f.must(f.ChangeMailbox(background, address(name), func(m *directory.Mailbox) { m.Limit = l }))
}

// message is what the suite delivers: content under an id, to mailboxes.
type message struct {
	id      string
	content string
	to      []mail.MailboxID
}

const (
	returnPath = "Return-Path: <a@b.example>\r\n"
	trace      = "Received: by x\r\n"
)

func own(id mail.MailboxID) string {
	return "Delivered-To: " + strings.Repeat("x", 1+int(id)%7) + "@me.com\r\n"
}

// text is the message as a recipient reads it.
func (m message) text(to mail.MailboxID) string { return returnPath + trace + own(to) + m.content }

func (f *fixture) deliver(m message) error { return f.deliverLimit(m, quota.Limit{}) }

func (f *fixture) deliverLimit(m message, server quota.Limit) error {
	b, err := f.NewBody(background, int64(len(m.content)))
	if err != nil {
		return err
	}
	defer b.Discard()
	if _, err := io.WriteString(b, m.content); err != nil {
		return err
	}
	d := &storage.Delivery{ID: m.id, ReturnPath: returnPath, Trace: trace, Body: b, Limit: server}
	for _, id := range m.to {
		d.To = append(d.To, storage.Recipient{Mailbox: id, Own: own(id)})
	}
	_, err = f.Deliver(background, d)
	return err
}

func (f *fixture) openDrop(id mail.MailboxID) (storage.Maildrop, []storage.Entry) {
	f.t.Helper()
	d, err := f.OpenMaildrop(background, id)
	f.must(err)
	entries, err := storage.AllEntries(background, d)
	f.must(err)
	return d, entries
}

// details is openDrop with all that is known of each message.
func (f *fixture) details(id mail.MailboxID) (storage.Maildrop, []storage.Detail) {
	f.t.Helper()
	d, err := f.OpenMaildrop(background, id)
	f.must(err)
	all, err := d.Details(background, 0, 1000)
	f.must(err)
	return d, all
}

// read returns a message whole.
func (f *fixture) read(d storage.Maildrop, e storage.Entry) (string, error) {
	return f.readFrom(d, e, 0)
}

// readFrom returns what a message has from an octet on, counted from 0.
func (f *fixture) readFrom(d storage.Maildrop, e storage.Entry, from int64) (string, error) {
	m, err := d.Message(background, e, from)
	if err != nil {
		return "", err
	}
	defer m.Close()
	var b strings.Builder
	for {
		piece, err := m.Next(background)
		if err == io.EOF {
			return b.String(), nil
		}
		if err != nil {
			return b.String(), err
		}
		b.Write(piece)
	}
}

// wantDrop compares a maildrop with what should be in it, in order, to the
// octet; the snapshot's usage, the entries' sizes and the directory's usage
// must agree.
func (f *fixture) wantDrop(id mail.MailboxID, want ...message) {
	f.t.Helper()
	opened, err := f.OpenMaildrop(background, id)
	f.must(err)
	usage := opened.Usage()
	entries, err := storage.AllEntries(background, opened)
	f.must(err)
	if len(entries) != len(want) {
		f.t.Fatalf("maildrop %d holds %d messages, want %d", id, len(entries), len(want))
	}
	var sum quota.Usage
	for i, e := range entries {
		text, err := f.read(opened, e)
		f.must(err)
		if e.UIDL != want[i].id || text != want[i].text(id) || e.Octets != int64(len(text)) {
			f.t.Fatalf("maildrop %d, message %d: UIDL %q, %d octets, %.80q; want %q, %.80q",
				id, i+1, e.UIDL, e.Octets, text, want[i].id, want[i].text(id))
		}
		sum = sum.Add(quota.Usage{Octets: e.Octets, Messages: 1})
	}
	if usage != sum {
		f.t.Fatalf("maildrop %d: usage %+v, entries add up to %+v", id, usage, sum)
	}
}
