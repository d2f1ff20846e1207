package storagetest

import (
	"errors"
	"fmt"
	"slices"
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
	entries, err := storage.AllEntries(background, early)
	f.must(err)
	if len(entries) != 3 || early.Usage().Messages != 3 {
		t.Fatalf("a snapshot shows %d messages, usage %+v; want 3", len(entries), early.Usage())
	}
	if _, err := early.Update(background, nil, storage.Change{Expunge: storage.UIDs(entries)}); err != nil {
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
	removed, err := d.Update(background, nil, storage.Change{Expunge: storage.UIDs(marked)})
	f.must(err)
	var want quota.Usage
	for _, m := range marked {
		want = want.Add(quota.Usage{Octets: m.Octets, Messages: 1})
	}
	if removed != want {
		t.Fatalf("removed %+v, want %+v", removed, want)
	}
	f.wantDrop(look, all[1], all[5], all[6], all[7], all[8])
	// Removing them again is no error.
	removed, err = d.Update(background, nil, storage.Change{Expunge: storage.UIDs(marked)})
	f.must(err)
	if removed != (quota.Usage{}) {
		t.Fatalf("removed %+v twice", removed)
	}
	removed, err = d.Update(background, nil, storage.Change{})
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
		if _, err := d.Update(background, nil, storage.Change{Expunge: storage.UIDs(entries)}); err != nil {
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
	reading, err := mine.Message(background, entries[0], 0)
	f.must(err)
	defer reading.Close()
	if _, err := reading.Next(background); err != nil {
		t.Fatal(err)
	}
	others, all := f.openDrop(look)
	_, err = others.Update(background, nil, storage.Change{Expunge: storage.UIDs(all)})
	f.must(err)
	if _, err := mine.Message(background, entries[1], 0); !errors.Is(err, storage.ErrGone) {
		t.Fatalf("a removed message opens: %v", err)
	}
	for err == nil {
		_, err = reading.Next(background)
	}
	if !errors.Is(err, storage.ErrGone) {
		t.Fatalf("a message removed while it is read ends with %v", err)
	}
	// A message that takes the removed one's place in the store is not mistaken for it.
	f.must(f.deliver(message{id: "next", content: strings.Repeat("w", 3*chunk), to: []mail.MailboxID{look}}))
	if _, err := mine.Message(background, entries[0], 0); !errors.Is(err, storage.ErrGone) {
		t.Fatalf("a removed message opens: %v", err)
	}
	removed, err := mine.Update(background, nil, storage.Change{Expunge: storage.UIDs(entries)})
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
	_, err := d.Update(background, nil, storage.Change{Expunge: storage.UIDs(entries[2:])})
	f.must(err)
	f.reopen()
	f.wantDrop(look, all[:2]...)
	_, after := f.openDrop(look)
	if after[0] != before[0] || after[1] != before[1] {
		t.Fatalf("entries %v became %v", before[:2], after)
	}
	// A uid is not given twice, also after its message is gone.
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

// Entries may be read in pieces of any size, from any uid, also where uids are missing.
func testPieces(t *testing.T, f *fixture) {
	look := f.mailbox("look@me.com", inherit)
	f.fill(look, 12)
	d, all := f.openDrop(look)
	_, err := d.Update(background, nil, storage.Change{Expunge: []storage.UID{all[0].UID, all[3].UID, all[4].UID, all[11].UID}})
	f.must(err)
	_, want := f.openDrop(look)
	if len(want) != 8 {
		t.Fatalf("%d left", len(want))
	}
	f.must(f.deliver(message{id: "late", to: []mail.MailboxID{look}}))
	for most := 1; most <= 9; most++ {
		var got []storage.Entry
		var details []storage.Detail
		for from := storage.UID(0); ; {
			piece, err := d.Entries(background, from, most)
			f.must(err)
			detailed, err := d.Details(background, from, most)
			f.must(err)
			got, details = append(got, piece...), append(details, detailed...)
			if len(piece) > most {
				t.Fatalf("%d of at most %d", len(piece), most)
			}
			if len(piece) < most {
				break
			}
			from = piece[most-1].UID + 1
		}
		if !slices.Equal(got, want) {
			t.Fatalf("in pieces of %d: %v, want %v", most, got, want)
		}
		if !slices.EqualFunc(details, want, func(d storage.Detail, e storage.Entry) bool { return d.Entry == e && d.Arrived > 0 }) {
			t.Fatalf("in pieces of %d: %+v, want %v", most, details, want)
		}
	}
	if none, err := d.Entries(background, storage.MaxUID, 5); err != nil || len(none) > 0 {
		t.Fatalf("behind the last: %v, %v", none, err)
	}
}

// A message may be read from any offset.
func testOffsets(t *testing.T, f *fixture) {
	look := f.mailbox("look@me.com", inherit)
	for i, n := range []int{0, 100, chunk, 3*chunk + 7} {
		var b strings.Builder
		for b.Len() < n {
			fmt.Fprintf(&b, "%d\r\n", b.Len())
		}
		m := message{id: fmt.Sprint("m", i), content: b.String()[:n], to: []mail.MailboxID{look}}
		f.must(f.deliver(m))
		d, all := f.openDrop(look)
		text, head := m.text(look), len(m.text(look))-n
		for _, from := range []int{0, 1, head - 1, head, head + 1, head + chunk - 1, head + chunk, head + chunk + 1, head + 2*chunk + 5, len(text) - 1, len(text), len(text) + 1, len(text) + 2*chunk} {
			want := text[min(from, len(text)):]
			if got, err := f.readFrom(d, all[i], int64(from)); err != nil || got != want {
				t.Fatalf("%d octets from %d on: %d octets, %v; want %d", len(text), from, len(got), err, len(want))
			}
		}
	}
}

// A change may name many messages that are not neighbours, in any order.
func testScatteredChange(t *testing.T, f *fixture) {
	look := f.mailbox("look@me.com", inherit)
	all := f.fill(look, 200)
	d, entries := f.openDrop(look)
	remove := func(gone func(i int) bool) {
		t.Helper()
		var c storage.Change
		var want []message
		for i := len(entries) - 1; i >= 0; i-- {
			if gone(i) {
				c.Expunge = append(c.Expunge, entries[i].UID)
			} else {
				want = append([]message{all[i]}, want...)
			}
		}
		_, err := d.Update(background, nil, c)
		f.must(err)
		f.wantDrop(look, want...)
	}
	remove(func(i int) bool { return i%3 == 1 })
	// Now the messages between are gone, and each third one stays.
	remove(func(i int) bool { return i%3 != 0 || i == 60 })
	remove(func(i int) bool { return i%3 != 0 || i%6 == 0 })
	remove(func(i int) bool { return true })
}
