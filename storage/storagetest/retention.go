package storagetest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
	"mailsrv/quota"
	"mailsrv/storage"
)

const day = 24 * time.Hour

func (f *fixture) retention(name string, r directory.Retention) {
	f.t.Helper()
	f.must(f.ChangeMailbox(background, address(name), func(m *directory.Mailbox) { m.Retention = r }))
}

// expire runs Collect so long from now and returns the UIDLs it reports.
func (f *fixture) expire(after time.Duration) string {
	f.t.Helper()
	var gone []string
	f.must(f.Collect(background, time.Now().Add(after), func(e storage.Expired) {
		gone = append(gone, fmt.Sprint(e.Mailbox, ":", e.UIDL))
	}))
	return strings.Join(gone, " ")
}

func testExpire(t *testing.T, f *fixture) {
	look, other := f.mailbox("look@me.com", inherit), f.mailbox("other@me.com", inherit)
	shared := message{id: "shared", content: "x", to: []mail.MailboxID{look, other}}
	f.must(f.deliver(shared))
	all := f.fill(look, 4)
	f.must(f.ChangeDomain(background, "me.com", func(d *directory.Domain) { d.Retention.Retrieved = 14 * day }))
	f.retention("other@me.com", directory.Retention{Retrieved: directory.RetentionOff})

	for _, id := range []mail.MailboxID{look, other} {
		d, e := f.openDrop(id)
		_, err := d.Update(background, nil, storage.Change{Retrieved: storage.UIDs(e[:1])})
		f.must(err)
		if id == look {
			_, err = d.Update(background, nil, storage.Change{Expunge: storage.UIDs(e[2:3]), Retrieved: storage.UIDs(e[1:2])})
			f.must(err)
		}
	}
	// What nobody retrieved is never removed, nor anything before its time.
	if gone := f.expire(13 * day); gone != "" {
		t.Fatalf("expired early: %s", gone)
	}
	if gone, want := f.expire(15*day), fmt.Sprintf("%d:shared %d:m0", look, look); gone != want {
		t.Fatalf("expired %q, want %q", gone, want)
	}
	f.wantDrop(look, all[2], all[3])
	f.wantDrop(other, shared)
	if gone := f.expire(1000 * day); gone != "" {
		t.Fatalf("expired twice: %s", gone)
	}
}

func testExpireMany(t *testing.T, f *fixture) {
	look := f.mailbox("look@me.com", inherit)
	f.retention("look@me.com", directory.Retention{Retrieved: day, Deleted: 7 * day})
	f.fill(look, 250)
	d, e := f.openDrop(look)
	_, err := d.Update(background, nil, storage.Change{Retrieved: storage.UIDs(e)})
	f.must(err)
	late := message{id: "late", to: []mail.MailboxID{look}}
	f.must(f.deliver(late))
	if n := len(strings.Fields(f.expire(2 * day))); n != 250 {
		t.Fatalf("%d expired", n)
	}
	f.wantDrop(look, late)
	// Expiry is not something to undo.
	restored, left, err := f.Undelete(background, look, time.Time{}, quota.Limit{}, mail.NewID)
	f.must(err)
	if restored.Messages+left.Messages != 0 {
		t.Fatalf("undeleted %+v, left %+v", restored, left)
	}
}

func testExpiries(t *testing.T, f *fixture) {
	want := func(values ...time.Duration) {
		t.Helper()
		got, err := f.Expiries(background)
		f.must(err)
		if len(got) != len(values) {
			t.Fatalf("got %v, want %v", got, values)
		}
		for i, v := range values {
			if got[i] != v {
				t.Fatalf("got %v, want %v", got, values)
			}
		}
	}
	want()
	f.mailbox("look@me.com", inherit)
	want(0)
	f.retention("look@me.com", directory.Retention{Retrieved: 3 * day, Deleted: day})
	want(0, 3*day)
	f.must(f.ChangeDomain(background, "me.com", func(d *directory.Domain) { d.Retention = directory.Retention{Retrieved: 3 * day} }))
	want(3 * day)
	found, err := f.Lookup(background, address("look@me.com"))
	f.must(err)
	if found.Mailbox.Effective.Retention != (directory.Retention{Retrieved: 3 * day, Deleted: day}) {
		t.Fatalf("effective %+v", found.Mailbox.Effective.Retention)
	}
}

func testUndelete(t *testing.T, f *fixture) {
	look, other := f.mailbox("look@me.com", quota.Limit{Messages: 5}), f.mailbox("other@me.com", inherit)
	f.retention("look@me.com", directory.Retention{Deleted: 7 * day})
	both := message{id: "both", content: strings.Repeat("y", 2*chunk), to: []mail.MailboxID{look, other}}
	f.must(f.deliver(both))
	all := append([]message{both}, f.fill(look, 4)...)
	for _, id := range []mail.MailboxID{look, other} {
		d, e := f.openDrop(id)
		_, err := d.Update(background, nil, storage.Change{Expunge: storage.UIDs(e)})
		f.must(err)
		f.wantDrop(id)
	}
	f.recount()
	// Deleted mail is outside the quota.
	f.must(f.deliver(message{id: "new1", content: "n", to: []mail.MailboxID{look}}))
	f.must(f.deliver(message{id: "new2", content: "n", to: []mail.MailboxID{look}}))
	ids := 0
	newID := func() string { ids++; return fmt.Sprint("again", ids) }
	if restored, _, err := f.Undelete(background, look, time.Now().Add(time.Hour), quota.Limit{}, newID); err != nil || restored.Messages != 0 {
		t.Fatalf("since an hour from now: %+v, %v", restored, err)
	}
	restored, left, err := f.Undelete(background, look, time.Time{}, quota.Limit{}, newID)
	f.must(err)
	if restored.Messages != 3 || left.Messages != 2 {
		t.Fatalf("restored %+v, left %+v", restored, left)
	}
	f.recount()
	f.limit("look@me.com", inherit)
	_, left, err = f.Undelete(background, look, time.Time{}, quota.Limit{}, newID)
	f.must(err)
	if left.Messages != 0 {
		t.Fatalf("left %+v", left)
	}
	want := []message{{id: "new1", content: "n"}, {id: "new2", content: "n"}}
	for i, m := range all {
		want = append(want, message{id: fmt.Sprint("again", i+1), content: m.content})
	}
	f.wantDrop(look, want...)
	f.wantDrop(other) // nothing was kept for it

	// After its time it is gone for good.
	d, e := f.openDrop(look)
	_, err = d.Update(background, nil, storage.Change{Expunge: storage.UIDs(e)})
	f.must(err)
	f.expire(6 * day)
	f.expire(8 * day)
	if restored, left, err = f.Undelete(background, look, time.Time{}, quota.Limit{}, newID); err != nil || restored.Messages+left.Messages != 0 {
		t.Fatalf("restored %+v, left %+v, %v", restored, left, err)
	}
	_, _, err = f.Undelete(background, look+99, time.Time{}, quota.Limit{}, newID)
	f.wantError(err, storage.ErrNoMaildrop)
}

// What comes back is new mail, which nobody has retrieved.
func testUndeletedIsNew(t *testing.T, f *fixture) {
	look := f.mailbox("look@me.com", inherit)
	f.retention("look@me.com", directory.Retention{Retrieved: day, Deleted: 7 * day})
	f.fill(look, 1)
	d, e := f.openDrop(look)
	_, err := d.Update(background, nil, storage.Change{Retrieved: storage.UIDs(e)})
	f.must(err)
	_, err = d.Update(background, nil, storage.Change{Expunge: storage.UIDs(e)})
	f.must(err)
	restored, _, err := f.Undelete(background, look, time.Time{}, quota.Limit{}, func() string { return "again" })
	f.must(err)
	if gone := f.expire(2 * day); restored.Messages != 1 || gone != "" {
		t.Errorf("of %+v expired %q", restored, gone)
	}
}

// A mailbox that goes takes along what it had put aside.
func testRemoveWithDeleted(t *testing.T, f *fixture) {
	look, other := f.mailbox("look@me.com", inherit), f.mailbox("other@me.com", inherit)
	f.must(f.ChangeDomain(background, "me.com", func(d *directory.Domain) { d.Retention.Deleted = day }))
	both := message{id: "both", content: "y", to: []mail.MailboxID{look, other}}
	f.must(f.deliver(both))
	f.fill(look, 3)
	d, e := f.openDrop(look)
	_, err := d.Update(background, nil, storage.Change{Expunge: storage.UIDs(e[:2])})
	f.must(err)
	_, err = f.RemoveMailbox(background, address("look@me.com"))
	f.must(err)
	f.recount()
	f.reopen()
	f.wantDrop(other, both)
}

// wantAside compares how many messages each of some mailboxes has aside.
func (f *fixture) wantAside(want map[mail.MailboxID]int64) {
	f.t.Helper()
	all, err := f.Aside(background, 0)
	f.must(err)
	for id, n := range want {
		one, err := f.Aside(background, id)
		f.must(err)
		if one[id] != all[id] || one[id].Messages != n {
			f.t.Errorf("mailbox %d: %+v are aside, of all %+v, want %d messages", id, one[id], all[id], n)
		}
	}
	f.recount()
}

// fillAside delivers messages of about a KiB to a mailbox and deletes them, one after the
// other.
func (f *fixture) fillAside(id mail.MailboxID, names ...string) {
	f.t.Helper()
	for _, name := range names {
		f.must(f.deliver(message{id: name, content: strings.Repeat("x", 1000), to: []mail.MailboxID{id}}))
		d, e := f.openDrop(id)
		_, err := d.Update(background, nil, storage.Change{Expunge: storage.UIDs(e)})
		f.must(err)
	}
}

// What a mailbox has aside is no more than it may hold, whoever set the limit, and the
// oldest goes first. What a lower limit does not allow goes at once.
func testAsideBound(t *testing.T, f *fixture) {
	f.reopenWith(Limits{Limit: quota.Limit{Octets: 3500, Messages: quota.Unlimited}})
	byServer, byDomain, own := f.mailbox("server@me.com", inherit), f.mailbox("domain@you.com", inherit), f.mailbox("own@me.com", quota.Limit{Octets: quota.Unlimited, Messages: 2})
	f.must(f.ChangeDomain(background, "me.com", func(d *directory.Domain) { d.Retention.Deleted = day }))
	f.must(f.ChangeDomain(background, "you.com", func(d *directory.Domain) {
		d.Retention.Deleted = day
		d.Limit = quota.Limit{Octets: 4500, Messages: quota.Unlimited}
	}))
	names := []string{"a", "b", "c", "d", "e", "f", "g"}
	want := map[mail.MailboxID]int64{byServer: 3, byDomain: 4, own: 2}
	for id := range want {
		f.fillAside(id, names...)
	}
	f.wantAside(want)
	f.must(f.ChangeDomain(background, "you.com", func(d *directory.Domain) { d.Limit.Octets = 2500 }))
	f.limit("own@me.com", quota.Limit{Octets: 4500, Messages: 1})
	want[byDomain], want[own] = 2, 1
	f.wantAside(want)
	// Many at once, and one that alone is too much.
	f.must(f.ChangeDomain(background, "you.com", func(d *directory.Domain) { d.Limit.Octets = quota.Unlimited }))
	f.fill(byDomain, 250)
	d, e := f.openDrop(byDomain)
	f.must(f.ChangeDomain(background, "you.com", func(d *directory.Domain) { d.Limit = quota.Limit{Octets: quota.Unlimited, Messages: 7} }))
	_, err := d.Update(background, nil, storage.Change{Expunge: storage.UIDs(e)})
	f.must(err)
	want[byDomain] = 7
	f.wantAside(want)
	big := f.mailbox("big@me.com", quota.Limit{Octets: 100 << 10})
	f.must(f.deliver(message{id: "big", content: strings.Repeat("x", 50<<10), to: []mail.MailboxID{big}}))
	f.limit("big@me.com", quota.Limit{Octets: 10 << 10})
	d, e = f.openDrop(big)
	_, err = d.Update(background, nil, storage.Change{Expunge: storage.UIDs(e)})
	f.must(err)
	want[big] = 0
	f.wantAside(want)
	// What is left is the newest.
	restored, _, err := f.Undelete(background, byServer, time.Time{}, quota.Limit{}, mail.NewID)
	f.must(err)
	want[byServer] = 0
	f.wantAside(want)
	if restored.Messages != 3 {
		t.Errorf("%+v came back", restored)
	}
	f.expire(2 * day)
	f.wantAside(map[mail.MailboxID]int64{byServer: 0, byDomain: 0, own: 0})
}

// All mailboxes together keep no more aside than the total, and where a mailbox has no
// limit it does not either. The oldest goes first, whose ever it is.
func testAsideTotal(t *testing.T, f *fixture) {
	f.reopenWith(Limits{MaxAside: 5500})
	a, b := f.mailbox("a@me.com", inherit), f.mailbox("b@me.com", inherit)
	f.must(f.ChangeDomain(background, "me.com", func(d *directory.Domain) { d.Retention.Deleted = day }))
	f.fillAside(a, "a0", "a1", "a2")
	f.fillAside(b, "b0", "b1")
	f.wantAside(map[mail.MailboxID]int64{a: 3, b: 2})
	f.fillAside(b, "b2", "b3")
	f.wantAside(map[mail.MailboxID]int64{a: 1, b: 4})
	f.fillAside(a, "a3", "a4")
	f.wantAside(map[mail.MailboxID]int64{a: 2, b: 3})
	f.fillAside(a, "a5", "a6", "a7", "a8", "a9", "a10")
	f.wantAside(map[mail.MailboxID]int64{a: 5, b: 0})
	// A total that is lower counts with the next collection.
	f.reopenWith(Limits{MaxAside: 2500})
	f.expire(0)
	f.wantAside(map[mail.MailboxID]int64{a: 2, b: 0})
	_, err := f.RemoveMailbox(background, address("a@me.com"))
	f.must(err)
	f.wantAside(map[mail.MailboxID]int64{a: 0, b: 0})
	f.fillAside(b, "b4", "b5", "b6")
	f.wantAside(map[mail.MailboxID]int64{b: 2})
}

// Off means gone: at once, for all that inherit it, and for good.
func testAsideOff(t *testing.T, f *fixture) {
	a, b := f.mailbox("a@me.com", inherit), f.mailbox("b@me.com", inherit)
	f.must(f.ChangeDomain(background, "me.com", func(d *directory.Domain) { d.Retention.Deleted = day }))
	f.retention("b@me.com", directory.Retention{Deleted: day})
	f.fillAside(a, "a0", "a1")
	f.fillAside(b, "b0", "b1")
	off := func(d *directory.Domain) { d.Retention.Deleted = directory.RetentionOff }
	f.must(f.ChangeDomain(background, "me.com", off))
	f.wantAside(map[mail.MailboxID]int64{a: 0, b: 2})
	f.retention("b@me.com", directory.Retention{})
	f.wantAside(map[mail.MailboxID]int64{a: 0, b: 0})
	f.must(f.ChangeDomain(background, "me.com", func(d *directory.Domain) { d.Retention.Deleted = day }))
	f.fillAside(a, "a2")
	f.wantAside(map[mail.MailboxID]int64{a: 1, b: 0})
	for id, n := range map[mail.MailboxID]int64{a: 1, b: 0} {
		restored, left, err := f.Undelete(background, id, time.Time{}, quota.Limit{}, mail.NewID)
		f.must(err)
		if restored.Messages != n || left.Messages != 0 {
			t.Errorf("mailbox %d: %+v came back, %+v are left", id, restored, left)
		}
	}
	f.fillAside(b, "b2")
	f.wantAside(map[mail.MailboxID]int64{a: 0, b: 1})
}
