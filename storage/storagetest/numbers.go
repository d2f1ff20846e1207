package storagetest

import (
	"testing"
	"time"

	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
	"mailsrv/quota"
	"mailsrv/storage"
)

// place delivers an empty message and returns where it was placed.
func (f *fixture) place(id string, to ...storage.Recipient) ([]storage.Placed, error) {
	f.t.Helper()
	b, err := f.NewBody(background, 0)
	f.must(err)
	defer b.Discard()
	receipt, err := f.Deliver(background, &storage.Delivery{ID: id, Body: b, Arrived: time.Unix(1_000_000_000, 5), To: to})
	return receipt.Placed, err
}

// A receipt names folder and uid of each copy, as the entries have them. Each folder
// has its own ascending uids.
func testReceipt(t *testing.T, f *fixture) {
	a, b := f.mailbox("a@me.com", inherit), f.mailbox("b@me.com", inherit)
	first, err := f.place("m1", storage.Recipient{Mailbox: b})
	f.must(err)
	both, err := f.place("m2", storage.Recipient{Mailbox: a}, storage.Recipient{Mailbox: b})
	f.must(err)
	if len(first) != 1 || len(both) != 2 || both[0].Mailbox != a || both[1].Mailbox != b {
		t.Fatalf("placed %v, then %v", first, both)
	}
	if first[0].UID != 1 || both[0].UID != 1 || both[1].UID != 2 {
		t.Errorf("uids: %v, then %v", first, both)
	}
	if both[0].Folder == 0 || both[1].Folder != first[0].Folder || both[0].Folder == both[1].Folder {
		t.Errorf("folders: %v, then %v", first, both)
	}
	if _, entries := f.openDrop(b); entries[0].UID != 1 || entries[1].UID != 2 {
		t.Errorf("entries %v", entries)
	}
	// INBOX named by its id is the same as folder 0.
	again, err := f.place("m3", storage.Recipient{Mailbox: a, Folder: both[0].Folder})
	f.must(err)
	if again[0] != (storage.Placed{Mailbox: a, Folder: both[0].Folder, UID: 2}) {
		t.Errorf("placed %v", again)
	}
}

// UIDL, uid, time and flags that a recipient sets are those of its entry. What it does
// not set comes from the delivery.
func testBroughtAlong(t *testing.T, f *fixture) {
	look := f.mailbox("look@me.com", inherit)
	f.retention("look@me.com", directory.Retention{Deleted: day})
	_, err := f.place("plain", storage.Recipient{Mailbox: look})
	f.must(err)
	placed, err := f.place("import", storage.Recipient{
		Mailbox: look, UIDL: "1", UID: 77, Arrived: time.Unix(900_000_000, 0), Flags: storage.Seen | storage.Draft,
	})
	f.must(err)
	if placed[0].UID != 77 {
		t.Errorf("placed %v", placed)
	}
	want := []storage.Detail{
		{Entry: storage.Entry{UID: 1, UIDL: "plain"}, Arrived: 1_000_000_000},
		{Entry: storage.Entry{UID: 77, UIDL: "1"}, Arrived: 900_000_000, Flags: storage.Seen | storage.Draft},
	}
	wantEntries := func(want []storage.Detail) storage.Maildrop {
		t.Helper()
		d, entries := f.details(look)
		if len(entries) != len(want) {
			t.Fatalf("entries %v", entries)
		}
		for i, e := range entries {
			if e.ModSeq = 0; e != want[i] {
				t.Fatalf("entry %d: %+v, want %+v", i, e, want[i])
			}
		}
		return d
	}
	wantEntries(want)
	// A uid is never given twice, and a refused delivery changes nothing.
	for _, uid := range []storage.UID{1, 50, 77} {
		_, err := f.place("again", storage.Recipient{Mailbox: look, UID: uid})
		f.wantError(err, storage.ErrUID)
	}
	other := f.mailbox("other@me.com", quota.Limit{Messages: 1})
	_, err = f.place("fills", storage.Recipient{Mailbox: other})
	f.must(err)
	if _, err := f.place("misfit", storage.Recipient{Mailbox: look, UID: 1000}, storage.Recipient{Mailbox: other}); misfits(err) == nil {
		t.Fatal(err)
	}
	f.recount()
	d := wantEntries(want)
	_, entries := f.openDrop(look)
	_, err = d.Update(background, nil, storage.Change{Expunge: storage.UIDs(entries[1:])})
	f.must(err)
	// A message that is brought back keeps its time and its flags.
	_, _, err = f.Undelete(background, look, time.Time{}, quota.Limit{}, func() string { return "back" })
	f.must(err)
	want[1].UID, want[1].UIDL = 78, "back"
	wantEntries(want)
	f.reopen()
	wantEntries(want)
}

// Each commit that adds or removes messages raises modseq, and gives the new value to
// what it added. That POP3 retrieved a message does not raise it.
func testModSeq(t *testing.T, f *fixture) {
	look := f.mailbox("look@me.com", inherit)
	f.fill(look, 3)
	_, details := f.details(look)
	for i, e := range details {
		if e.ModSeq == 0 || i > 0 && e.ModSeq <= details[i-1].ModSeq {
			t.Errorf("entries %+v", details)
		}
	}
	d, entries := f.openDrop(look)
	next := func() storage.ModSeq {
		t.Helper()
		_, err := f.place(mail.NewID(), storage.Recipient{Mailbox: look})
		f.must(err)
		_, all := f.details(look)
		return all[len(all)-1].ModSeq
	}
	before := next()
	_, err := d.Update(background, nil, storage.Change{Retrieved: storage.UIDs(entries)})
	f.must(err)
	if after := next(); after != before+1 {
		t.Errorf("%d after %d, though only what POP3 retrieved was noted", after, before)
	}
	_, err = d.Update(background, nil, storage.Change{Expunge: storage.UIDs(entries[1:])})
	f.must(err)
	if after := next(); after != before+3 {
		t.Errorf("%d after %d and a removal", after, before)
	}
	_, err = d.Update(background, nil, storage.Change{Expunge: storage.UIDs(entries[1:])}) // they are gone already
	f.must(err)
	if after := next(); after != before+4 {
		t.Errorf("%d after %d and a removal", after, before)
	}
}

// A folder that has given its last uid takes no mail. Deliveries to other folders go on.
func testFolderEnded(t *testing.T, f *fixture) {
	look, other := f.mailbox("look@me.com", inherit), f.mailbox("other@me.com", inherit)
	placed, err := f.place("last", storage.Recipient{Mailbox: look, UID: storage.MaxUID})
	f.must(err)
	if _, entries := f.openDrop(look); len(entries) != 1 || entries[0].UID != storage.MaxUID || placed[0].UID != storage.MaxUID {
		t.Errorf("placed %v, entries %v", placed, entries)
	}
	for _, to := range [][]storage.Recipient{{{Mailbox: look}}, {{Mailbox: other}, {Mailbox: look}}} {
		_, err := f.place("more", to...)
		f.wantError(err, storage.ErrFolderEnded)
	}
	f.wantDrop(other)
	found := 0
	_, err = f.Check(background, false, func(storage.Finding) { found++ })
	f.must(err)
	if found != 1 {
		t.Errorf("check finds %d", found)
	}
	d, entries := f.openDrop(look)
	removed, err := d.Update(background, nil, storage.Change{Expunge: storage.UIDs(entries)})
	f.must(err)
	if removed.Messages != 1 {
		t.Errorf("removed %+v", removed)
	}
	_, err = f.RemoveMailbox(background, address("look@me.com"))
	f.must(err)
}

// A delivery to a folder of another mailbox fails.
func testNoFolder(t *testing.T, f *fixture) {
	a, b := f.mailbox("a@me.com", inherit), f.mailbox("b@me.com", inherit)
	placed, err := f.place("m", storage.Recipient{Mailbox: a})
	f.must(err)
	for _, folder := range []storage.FolderID{placed[0].Folder, placed[0].Folder + 99, -1} {
		_, err := f.place("n", storage.Recipient{Mailbox: a}, storage.Recipient{Mailbox: b, Folder: folder})
		f.wantError(err, storage.ErrNoFolder)
	}
	f.wantDrop(b)
	if _, entries := f.openDrop(a); len(entries) != 1 {
		t.Errorf("%d entries", len(entries))
	}
}

// Mail is accepted where the switch Receives is set, whatever the others are.
func testSwitches(t *testing.T, f *fixture) {
	look := f.mailbox("look@me.com", inherit)
	for on := range directory.AllOn + 1 {
		f.must(f.ChangeMailbox(background, address("look@me.com"), func(m *directory.Mailbox) { m.Switches = on }))
		found, err := f.Lookup(background, address("look@me.com"))
		f.must(err)
		if found.Mailbox.Switches != on {
			t.Errorf("switches %b, want %b", found.Mailbox.Switches, on)
		}
		_, err = f.place(mail.NewID(), storage.Recipient{Mailbox: look})
		if receives := on.Has(directory.Receives); (err == nil) != receives || !receives && misfits(err)[look] != storage.MisfitDisabled {
			t.Errorf("switches %b: %v", on, err)
		}
	}
}
