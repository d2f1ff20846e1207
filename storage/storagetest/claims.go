package storagetest

import (
	"context"
	"testing"
	"time"

	"mailsrv/quota"
	"mailsrv/storage"
)

// One session holds a maildrop. A session that waits gets it when the first one
// releases or yields it.
func testClaims(t *testing.T, f *fixture) {
	look, other := f.mailbox("look@me.com", inherit), f.mailbox("other@me.com", inherit)
	first, err := f.Claim(background, look, storage.Claimant{})
	f.must(err)
	beside, err := f.Claim(background, other, storage.Claimant{})
	f.must(err)
	defer beside.Release()
	f.must(first.Hold(background))

	_, err = f.Claim(background, look, storage.Claimant{})
	f.wantError(err, storage.ErrInUse)
	_, err = f.Claim(background, look, storage.Claimant{Patience: time.Millisecond})
	f.wantError(err, storage.ErrInUse)
	_, err = f.Claim(background, look, storage.Claimant{Patience: time.Hour, Gone: func() bool { return true }})
	f.wantError(err, storage.ErrInUse)
	ended, end := context.WithCancel(background)
	end()
	_, err = f.Claim(ended, look, storage.Claimant{Patience: time.Hour})
	f.wantError(err, context.Canceled)

	// Yielded from a later time on, and yielded and held again.
	first.Yield(time.Now().Add(time.Hour))
	_, err = f.Claim(background, look, storage.Claimant{})
	f.wantError(err, storage.ErrInUse)
	first.Yield(time.Now().Add(-time.Second))
	f.must(first.Hold(background))
	_, err = f.Claim(background, look, storage.Claimant{})
	f.wantError(err, storage.ErrInUse)

	first.Yield(time.Now().Add(-time.Second))
	second, err := f.Claim(background, look, storage.Claimant{Patience: time.Minute})
	f.must(err)
	f.wantError(first.Hold(background), storage.ErrTaken)
	first.Release() // has no effect: the claim was taken
	_, err = f.Claim(background, look, storage.Claimant{})
	f.wantError(err, storage.ErrInUse)

	got := make(chan error, 1)
	go func() {
		third, err := f.Claim(background, look, storage.Claimant{Patience: time.Hour})
		if err == nil {
			third.Release()
		}
		got <- err
	}()
	second.Release()
	f.wantError(second.Hold(background), storage.ErrTaken)
	f.must(<-got)
}

// A busy session keeps its maildrop. Update with a claim that was taken or released
// changes nothing.
func testFence(t *testing.T, f *fixture) {
	look := f.mailbox("look@me.com", inherit)
	all := f.fill(look, 3)
	busy := true
	claim, err := f.Claim(background, look, storage.Claimant{Busy: func() bool { return busy }})
	f.must(err)
	claim.Yield(time.Now().Add(-time.Second))
	_, err = f.Claim(background, look, storage.Claimant{})
	f.wantError(err, storage.ErrInUse)

	d, entries := f.openDrop(look)
	change := func(e ...storage.Entry) storage.Change { return storage.Change{Expunge: storage.UIDs(e)} }
	removed, err := d.Update(background, claim, change(entries[0]))
	f.must(err)
	if removed.Messages != 1 {
		t.Fatalf("removed %+v", removed)
	}
	// The first session, whose claim was taken, changes nothing.
	busy = false
	claim.Yield(time.Now().Add(-time.Second))
	taker, err := f.Claim(background, look, storage.Claimant{})
	f.must(err)
	removed, err = d.Update(background, claim, storage.Change{Expunge: storage.UIDs(entries[1:]), Retrieved: storage.UIDs(entries)})
	f.wantError(err, storage.ErrTaken)
	if removed != (quota.Usage{}) {
		t.Fatalf("removed %+v", removed)
	}
	f.wantDrop(look, all[1], all[2])
	_, err = d.Update(background, taker, change(entries[1]))
	f.must(err)
	taker.Release()
	_, err = d.Update(background, taker, change(entries[2]))
	f.wantError(err, storage.ErrTaken)
	f.wantDrop(look, all[2])
	// Without a claim Update does not ask for one.
	_, err = d.Update(background, nil, change(entries[2]))
	f.must(err)
	f.wantDrop(look)
}
