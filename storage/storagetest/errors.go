package storagetest

import (
	"bytes"
	"math"
	"testing"
	"time"

	"mailsrv/internal/buffers"
	"mailsrv/internal/mail"
	"mailsrv/storage"
)

// On a full disk new mail is refused, and stored mail can be read and removed.
func testNoSpace(t *testing.T, f *fixture) {
	look := f.mailbox("look@me.com", inherit)
	all := f.fill(look, 2)
	f.must(f.Accepting())
	f.reopenWith(Limits{MinFree: math.MaxInt64})
	f.wantError(f.Accepting(), storage.ErrNoSpace)
	b, err := f.NewBody(background, 0)
	if err == nil { // it may show in its staging alone
		_, err = b.Write(make([]byte, 2*chunk))
		b.Discard()
	}
	f.wantError(err, storage.ErrNoSpace)
	f.wantDrop(look, all...)
	d, entries := f.openDrop(look)
	_, err = d.Update(background, nil, storage.Change{Expunge: storage.UIDs(entries)})
	f.must(err)
	f.wantDrop(look)
	f.reopen()
	f.must(f.Accepting())
}

// The staged octets of unfinished transfers are bounded in total. When a transfer ends,
// others have room.
func testStagedFull(t *testing.T, f *fixture) {
	look := f.mailbox("look@me.com", inherit)
	f.reopenWith(Limits{MaxStaged: int64(2 * chunk)})
	first, err := f.NewBody(background, 0)
	f.must(err)
	_, err = first.Write(make([]byte, 2*chunk+1))
	f.must(err)
	second, err := f.NewBody(background, 0)
	f.must(err)
	_, err = second.Write(make([]byte, 2*chunk))
	f.wantError(err, storage.ErrStagedFull)
	second.Discard()
	first.Discard()
	m := message{id: "m", content: string(bytes.Repeat([]byte("x"), 2*chunk)), to: []mail.MailboxID{look}}
	f.must(f.deliver(m))
	f.wantDrop(look, m)
}

// A delivery that gets no memory within the wait fails with ErrNoMemory.
func testNoMemory(t *testing.T, f *fixture) {
	look := f.mailbox("look@me.com", inherit)
	m := message{id: "m", content: string(bytes.Repeat([]byte("x"), chunk)), to: []mail.MailboxID{look}}
	f.must(f.deliver(m))
	pool := buffers.NewPool(int64(chunk), time.Millisecond)
	f.reopenWith(Limits{Buffers: pool})
	f.must(pool.Reserve(background, int64(chunk)))
	_, err := f.NewBody(background, 0)
	f.wantError(err, storage.ErrNoMemory)
	d, entries := f.openDrop(look)
	_, err = d.Message(background, entries[0], 0)
	f.wantError(err, storage.ErrNoMemory)
	pool.Release(int64(chunk))
	f.wantDrop(look, m)
}

// Damaged content is reported, never returned as if it were sound.
func testDamaged(t *testing.T, f *fixture) {
	look := f.mailbox("look@me.com", inherit)
	short := message{id: "short", content: "text\r\n", to: []mail.MailboxID{look}}
	long := message{id: "long", content: string(bytes.Repeat([]byte("x"), 3*chunk)), to: []mail.MailboxID{look}}
	f.must(f.deliver(short))
	f.must(f.deliver(long))
	f.hooks.Damage(t, f.Backend)
	f.damaged = true
	d, entries := f.openDrop(look)
	for _, e := range entries {
		_, err := f.read(d, e)
		f.wantError(err, storage.ErrDamaged)
	}
	found := 0
	_, err := f.Check(background, false, func(storage.Finding) { found++ })
	f.must(err)
	if found == 0 {
		t.Error("check finds no damage")
	}
	_, err = d.Update(background, nil, storage.Change{Expunge: storage.UIDs(entries)})
	f.must(err)
	f.wantDrop(look)
}

// A read-only store can still be read.
func testReadOnly(t *testing.T, f *fixture) {
	look := f.mailbox("look@me.com", inherit)
	all := f.fill(look, 2)
	f.hooks.ReadOnly(t, f.Backend)
	f.wantError(f.Accepting(), storage.ErrReadOnly)
	f.wantError(f.deliver(message{id: "m", to: []mail.MailboxID{look}}), storage.ErrReadOnly)
	d, entries := f.openDrop(look)
	_, err := d.Update(background, nil, storage.Change{Expunge: storage.UIDs(entries)})
	f.wantError(err, storage.ErrReadOnly)
	f.wantDrop(look, all...)
	f.reopen()
	f.must(f.Accepting())
	f.wantDrop(look, all...)
}
