package storagetest

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
	"mailsrv/quota"
	"mailsrv/storage"
)

// fixture is a backend with helpers for the cases.
type fixture struct {
	Backend
	t       *testing.T
	dir     string
	hooks   Hooks
	damaged bool // the case damaged the store: a recount would fail
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

// mailbox adds a mailbox, and its domain if there is none.
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

// message is a message to be delivered to mailboxes.
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

// text returns the message as a recipient reads it.
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

// details is as openDrop, with the details of each message.
func (f *fixture) details(id mail.MailboxID) (storage.Maildrop, []storage.Detail) {
	f.t.Helper()
	d, err := f.OpenMaildrop(background, id)
	f.must(err)
	all, err := d.Details(background, 0, 1000)
	f.must(err)
	return d, all
}

// read returns a whole message.
func (f *fixture) read(d storage.Maildrop, e storage.Entry) (string, error) {
	return f.readFrom(d, e, 0)
}

// readFrom returns a message from the octet at an offset on.
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

// wantDrop fails unless a maildrop holds exactly these messages, in this order and
// octet for octet, and its usage is the sum of their sizes.
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
