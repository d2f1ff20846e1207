package storagetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
	"mailsrv/quota"
	"mailsrv/storage"
)

var chunk = 256 << 10

func testDeliver(t *testing.T, f *fixture) {
	look := f.mailbox("look@me.com", inherit)
	first := message{id: "a", content: "Subject: 1\r\n\r\nx\r\n", to: []mail.MailboxID{look}}
	empty := message{id: "b", to: []mail.MailboxID{look}}
	odd := message{id: "c", content: "\x00\xff .\r\n", to: []mail.MailboxID{look}}
	for _, m := range []message{first, empty, odd} {
		f.must(f.deliver(m))
	}
	f.wantDrop(look, first, empty, odd)
}

// Long bodies are stored in pieces. Sizes around their borders must work.
func testDeliverLong(t *testing.T, f *fixture) {
	look := f.mailbox("look@me.com", inherit)
	var all []message
	for _, n := range []int{chunk - 1, chunk, chunk + 1, 2 * chunk, 5*chunk + 17} {
		m := message{id: fmt.Sprint("long", n), content: strings.Repeat("0123456789abcdef", n/16+1)[:n], to: []mail.MailboxID{look}}
		f.must(f.deliver(m))
		all = append(all, m)
	}
	f.wantDrop(look, all...)
}

func testDeliverMany(t *testing.T, f *fixture) {
	m := message{id: "a", content: strings.Repeat("x", chunk+1)}
	for i := range 12 {
		m.to = append(m.to, f.mailbox(fmt.Sprintf("u%d@me.com", i), inherit))
	}
	f.must(f.deliver(m))
	for _, id := range m.to {
		f.wantDrop(id, m)
	}
}

func misfits(err error) map[mail.MailboxID]storage.MisfitReason {
	var e *storage.MisfitError
	if !errors.As(err, &e) {
		return nil
	}
	found := map[mail.MailboxID]storage.MisfitReason{}
	for _, m := range e.Misfits {
		found[m.Mailbox] = m.Reason
	}
	return found
}

func testAllOrNone(t *testing.T, f *fixture) {
	roomy := f.mailbox("a@me.com", inherit)
	small := f.mailbox("b@me.com", quota.Limit{Octets: 10})
	last := f.mailbox("c@me.com", inherit)
	m := message{id: "a", content: "0123456789", to: []mail.MailboxID{roomy, small, last}}
	got := misfits(f.deliver(m))
	if len(got) != 1 || got[small] != storage.MisfitTooLarge {
		t.Fatalf("misfits %v, want %d too large alone", got, small)
	}
	for _, id := range m.to {
		f.wantDrop(id)
	}
	m.to = []mail.MailboxID{roomy, last}
	f.must(f.deliver(m))
	f.wantDrop(roomy, m)
	f.wantDrop(last, m)
}

func testLimits(t *testing.T, f *fixture) {
	m := message{id: "a", content: strings.Repeat("x", 100)}
	size := int64(len(m.text(1)))
	exact := f.mailbox("exact@me.com", quota.Limit{Octets: 2 * size}) // its id is 1
	m.to = []mail.MailboxID{exact}
	second := m
	second.id = "b"
	f.must(f.deliver(m))
	f.must(f.deliver(second))
	third := message{id: "c", to: m.to}
	if got := misfits(f.deliver(third)); got[exact] != storage.MisfitFull || len(got) != 1 {
		t.Fatalf("one more: %v, want full", got)
	}
	f.wantDrop(exact, m, second)

	counted := f.mailbox("counted@me.com", quota.Limit{Octets: quota.Unlimited, Messages: 1})
	m.to, third.to = []mail.MailboxID{counted}, []mail.MailboxID{counted}
	f.must(f.deliver(m))
	if got := misfits(f.deliver(third)); got[counted] != storage.MisfitFull {
		t.Fatalf("a second message: %v, want full", got)
	}
	// Room made by a removal can be used again.
	d, entries := f.openDrop(counted)
	if _, err := d.Update(background, nil, storage.Change{Expunge: storage.UIDs(entries)}); err != nil {
		t.Fatal(err)
	}
	f.must(f.deliver(third))
	f.wantDrop(counted, third)
}

func testLimitsInherit(t *testing.T, f *fixture) {
	look := f.mailbox("look@me.com", inherit)
	m := message{id: "a", content: "x", to: []mail.MailboxID{look}}
	if got := misfits(f.deliverLimit(m, quota.Limit{Octets: 5})); got[look] != storage.MisfitTooLarge {
		t.Fatalf("the server's limit: %v", got)
	}
	f.must(f.ChangeDomain(background, "me.com", func(d *directory.Domain) { d.Limit = quota.Limit{Octets: 1000, Messages: 1} }))
	f.must(f.deliverLimit(m, quota.Limit{Octets: 5}))
	m.id = "b"
	if got := misfits(f.deliver(m)); got[look] != storage.MisfitFull {
		t.Fatalf("the domain's limit: %v", got)
	}
	f.limit("look@me.com", quota.Limit{Octets: quota.Unlimited, Messages: quota.Unlimited})
	f.must(f.deliverLimit(m, quota.Limit{Octets: 5, Messages: 1}))
	// Lowering a limit keeps the mail and refuses more.
	lowered := quota.Limit{Octets: 1, Messages: 1}
	f.limit("look@me.com", lowered)
	found, err := f.Lookup(background, address("look@me.com"))
	f.must(err)
	if found.Mailbox.Usage.Messages != 2 || found.Mailbox.Effective.Limit != lowered {
		t.Fatalf("after lowering: %+v", found.Mailbox)
	}
	m.id = "c"
	if got := misfits(f.deliver(m)); len(got) != 1 {
		t.Fatalf("above the limit: %v", got)
	}
}

// Many concurrent deliveries to a maildrop that has room for some of them.
func testLimitRace(t *testing.T, f *fixture) {
	const room, senders = 7, 40
	look := f.mailbox("look@me.com", quota.Limit{Octets: quota.Unlimited, Messages: room})
	other := f.mailbox("other@me.com", inherit)
	var group sync.WaitGroup
	results := make(chan error, senders)
	for i := range senders {
		group.Go(func() {
			results <- f.deliver(message{id: fmt.Sprint("m", i), content: "x", to: []mail.MailboxID{other, look}})
		})
	}
	group.Wait()
	close(results)
	accepted := 0
	for err := range results {
		if err == nil {
			accepted++
		} else if misfits(err) == nil {
			t.Error(err)
		}
	}
	_, entries := f.openDrop(look)
	_, others := f.openDrop(other)
	if accepted != room || len(entries) != room || len(others) != room {
		t.Errorf("%d accepted, %d and %d stored; room for %d", accepted, len(entries), len(others), room)
	}
}

func testMailboxStates(t *testing.T, f *fixture) {
	gone := f.mailbox("gone@me.com", inherit)
	off := f.mailbox("off@me.com", inherit)
	if _, err := f.RemoveMailbox(background, address("gone@me.com")); err != nil {
		t.Fatal(err)
	}
	f.must(f.ChangeMailbox(background, address("off@me.com"), func(m *directory.Mailbox) { m.Switches = 0 }))
	got := misfits(f.deliver(message{id: "a", to: []mail.MailboxID{gone, off}}))
	if got[gone] != storage.MisfitGone || got[off] != storage.MisfitDisabled || len(got) != 2 {
		t.Fatalf("misfits %v", got)
	}
}

func testCancelledContext(t *testing.T, f *fixture) {
	look := f.mailbox("look@me.com", inherit)
	ctx, cancel := context.WithCancel(background)
	cancel()
	// Whichever of commit and context comes first, the result must be true.
	var want []message
	for i := range 50 {
		m := message{id: fmt.Sprint("m", i), content: "x", to: []mail.MailboxID{look}}
		b, err := f.NewBody(background, 1)
		f.must(err)
		b.Write([]byte(m.content))
		d := &storage.Delivery{ID: m.id, ReturnPath: returnPath, Trace: trace, Body: b, To: []storage.Recipient{{Mailbox: look, Own: own(look)}}}
		switch _, err := f.Deliver(ctx, d); {
		case err == nil:
			want = append(want, m)
		case !errors.Is(err, context.Canceled):
			t.Fatal(err)
		}
		b.Discard()
	}
	f.wantDrop(look, want...)
}

func testDiscard(t *testing.T, f *fixture) {
	look := f.mailbox("look@me.com", inherit)
	for _, n := range []int{0, 10, chunk + 1, 3 * chunk} {
		b, err := f.NewBody(background, 0)
		f.must(err)
		_, err = b.Write(make([]byte, n))
		f.must(err)
		if b.Octets() != int64(n) {
			t.Fatalf("%d octets, want %d", b.Octets(), n)
		}
		b.Discard()
		b.Discard()
	}
	f.wantDrop(look)
	f.reopen()
	f.wantDrop(look)
}
