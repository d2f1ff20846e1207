package memory

import (
	"context"
	"errors"
	"testing"

	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
	"mailsrv/quota"
	"mailsrv/storage"
)

// Each folder has its own counters, and the mailbox's usage is that of all its folders.
// No method of the contract makes a folder yet, so the test makes one.
func TestFoldersOfOneMailbox(t *testing.T) {
	ctx := context.Background()
	s := New(Options{})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.AddDomain(ctx, directory.Domain{Name: "me.com"}))
	look := mail.Address{Local: "look", Domain: "me.com"}
	id, err := s.AddMailbox(ctx, directory.Mailbox{Address: look, Switches: directory.AllOn, Policy: directory.Policy{
		Limit: quota.Limit{Messages: 3}, Retention: directory.Retention{Deleted: 1e9},
	}})
	must(err)
	second := s.newFolder(s.byID[id]).id
	deliver := func(uidl string) (storage.Receipt, error) {
		b, err := s.NewBody(ctx, 0)
		must(err)
		defer b.Discard()
		to := []storage.Recipient{{Mailbox: id}, {Mailbox: id, Folder: second, Flags: storage.Seen}}
		return s.Deliver(ctx, &storage.Delivery{ID: uidl, Body: b, To: to})
	}
	wantUsage := func(messages, inInbox int64) {
		t.Helper()
		found, err := s.Lookup(ctx, look)
		must(err)
		drop, err := s.OpenMaildrop(ctx, id)
		must(err)
		if found.Mailbox.Usage.Messages != messages || drop.Usage().Messages != inInbox {
			t.Errorf("usage %+v, of INBOX %+v", found.Mailbox.Usage, drop.Usage())
		}
		if n, err := s.Check(ctx, false, func(finding storage.Finding) { t.Error(finding) }); n != 0 || err != nil {
			t.Errorf("%d findings, %v", n, err)
		}
	}
	receipt, err := deliver("one")
	must(err)
	if p := receipt.Placed; p[0].Folder == p[1].Folder || p[1].Folder != second || p[0].UID != 1 || p[1].UID != 1 {
		t.Errorf("placed %v", p)
	}
	wantUsage(2, 1)
	// There is room for one more, not for two.
	var misfit *storage.MisfitError
	if _, err := deliver("two"); !errors.As(err, &misfit) || misfit.Misfits[0].Reason != storage.MisfitFull {
		t.Errorf("beyond the limit: %v", err)
	}
	wantUsage(2, 1)
	// A message that is brought back goes to its former folder.
	drop, err := s.OpenMaildrop(ctx, id)
	must(err)
	entries, err := storage.AllEntries(ctx, drop)
	must(err)
	_, err = drop.Update(ctx, nil, storage.Change{Expunge: storage.UIDs(entries)})
	must(err)
	wantUsage(1, 0)
	f := s.byID[id].folders[second]
	s.mu.Lock()
	s.expunge(s.byID[id], f, now(), 1e9, func(*entry) bool { return true })
	s.mu.Unlock()
	wantUsage(0, 0)
	restored, _, err := s.Undelete(ctx, id, now().Add(-1e9), quota.Limit{}, mail.NewID)
	must(err)
	if restored.Messages != 2 || len(f.entries) != 1 || f.entries[0].UID != 2 || f.entries[0].Flags != storage.Seen {
		t.Errorf("restored %+v, the folder holds %v", restored, f.entries)
	}
	wantUsage(2, 1)
}
