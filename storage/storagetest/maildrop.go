package storagetest

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"mailsrv/internal/mail"
	"mailsrv/quota"
	"mailsrv/storage"
)

func (f *fixture) fill(id mail.MailboxID, n int) []message {
	f.t.Helper()
	var all []message
	for i := range n {
		m := message{id: fmt.Sprintf("m%d", i), content: strings.Repeat("x", i), to: []mail.MailboxID{id}}
		f.must(f.deliver(m))
		all = append(all, m)
	}
	return all
}

func testSnapshot(t *testing.T, f *fixture) {
	look := f.mailbox("look@me.com", inherit)
	all := f.fill(look, 3)
	early, err := f.OpenMaildrop(background, look)
	f.must(err)
	late := message{id: "late", to: []mail.MailboxID{look}}
	f.must(f.deliver(late))
	entries, err := early.Entries(background)
	f.must(err)
	if len(entries) != 3 || early.Usage().Messages != 3 {
		t.Fatalf("a snapshot shows %d messages, usage %+v; want 3", len(entries), early.Usage())
	}
	if _, err := early.Update(background, entries, nil); err != nil {
		t.Fatal(err)
	}
	f.wantDrop(look, late)
	_ = all
	if _, err := f.OpenMaildrop(background, look+999); !errors.Is(err, storage.ErrNoMaildrop) {
		t.Fatalf("an unknown maildrop: %v", err)
	}
}

func testExpunge(t *testing.T, f *fixture) {
	look := f.mailbox("look@me.com", inherit)
	all := f.fill(look, 10)
	d, e := f.openDrop(look)
	marked := []storage.Entry{e[0], e[2], e[3], e[4], e[9]}
	removed, err := d.Update(background, marked, nil)
	f.must(err)
	var want quota.Usage
	for _, m := range marked {
		want = want.Add(quota.Usage{Octets: m.Octets, Messages: 1})
	}
	if removed != want {
		t.Fatalf("removed %+v, want %+v", removed, want)
	}
	f.wantDrop(look, all[1], all[5], all[6], all[7], all[8])
	// Again: those are gone, which is no error.
	removed, err = d.Update(background, marked, nil)
	f.must(err)
	if removed != (quota.Usage{}) {
		t.Fatalf("removed %+v twice", removed)
	}
	removed, err = d.Update(background, nil, nil)
	f.must(err)
	if removed != (quota.Usage{}) {
		t.Fatalf("removed %+v for nothing", removed)
	}
	f.wantDrop(look, all[1], all[5], all[6], all[7], all[8])
}

func testExpungeShared(t *testing.T, f *fixture) {
	a, b := f.mailbox("a@me.com", inherit), f.mailbox("b@me.com", inherit)
	m := message{id: "m", content: strings.Repeat("y", 2*chunk), to: []mail.MailboxID{a, b}}
	f.must(f.deliver(m))
	for i, id := range m.to {
		d, entries := f.openDrop(id)
		if _, err := d.Update(background, entries, nil); err != nil {
			t.Fatal(err)
		}
		f.wantDrop(id)
		f.recount()
		if i == 0 {
			f.wantDrop(b, m)
		}
	}
}

func testGoneMessages(t *testing.T, f *fixture) {
	look := f.mailbox("look@me.com", inherit)
	long := message{id: "long", content: strings.Repeat("z", 3*chunk), to: []mail.MailboxID{look}}
	f.must(f.deliver(long))
	f.fill(look, 2)
	mine, entries := f.openDrop(look)
	reading, err := mine.Message(background, entries[0])
	f.must(err)
	defer reading.Close()
	if _, err := reading.Next(background); err != nil {
		t.Fatal(err)
	}
	others, all := f.openDrop(look)
	_, err = others.Update(background, all, nil)
	f.must(err)
	if _, err := mine.Message(background, entries[1]); !errors.Is(err, storage.ErrGone) {
		t.Fatalf("a removed message opens: %v", err)
	}
	for err == nil {
		_, err = reading.Next(background)
	}
	if !errors.Is(err, storage.ErrGone) {
		t.Fatalf("a message removed while it is read ends with %v", err)
	}
	// What takes the place of the removed one is not mistaken for it.
	f.must(f.deliver(message{id: "next", content: strings.Repeat("w", 3*chunk), to: []mail.MailboxID{look}}))
	if _, err := mine.Message(background, entries[0]); !errors.Is(err, storage.ErrGone) {
		t.Fatalf("a removed message opens: %v", err)
	}
	removed, err := mine.Update(background, entries, nil)
	f.must(err)
	if removed != (quota.Usage{}) {
		t.Fatalf("removed %+v that were gone", removed)
	}
}

func testReopen(t *testing.T, f *fixture) {
	look := f.mailbox("look@me.com", inherit)
	all := f.fill(look, 3)
	_, before := f.openDrop(look)
	d, entries := f.openDrop(look)
	_, err := d.Update(background, entries[2:], nil)
	f.must(err)
	f.reopen()
	f.wantDrop(look, all[:2]...)
	_, after := f.openDrop(look)
	if after[0] != before[0] || after[1] != before[1] {
		t.Fatalf("entries %v became %v", before[:2], after)
	}
	// A uid is not given twice, though its message is gone.
	f.must(f.deliver(message{id: "new", to: []mail.MailboxID{look}}))
	_, after = f.openDrop(look)
	if after[2].UID <= before[2].UID {
		t.Fatalf("uid %d after %d was given", after[2].UID, before[2].UID)
	}
}

func testRemoveMailbox(t *testing.T, f *fixture) {
	look, other := f.mailbox("look@me.com", inherit), f.mailbox("other@me.com", inherit)
	f.fill(look, 300)
	m := message{id: "both", content: "x", to: []mail.MailboxID{look, other}}
	f.must(f.deliver(m))
	removed, err := f.RemoveMailbox(background, address("look@me.com"))
	f.must(err)
	if removed.Messages != 301 {
		t.Fatalf("removed %+v", removed)
	}
	if _, err := f.OpenMaildrop(background, look); !errors.Is(err, storage.ErrNoMaildrop) {
		t.Fatalf("the maildrop of a removed mailbox opens: %v", err)
	}
	f.recount()
	again := f.mailbox("look@me.com", inherit)
	if again == look {
		t.Fatal("a new mailbox has the id of a removed one")
	}
	f.wantDrop(again)
	f.wantDrop(other, m)
	f.reopen()
	f.wantDrop(other, m)
}
