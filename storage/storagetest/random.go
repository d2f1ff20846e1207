package storagetest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
	"mailsrv/quota"
	"mailsrv/storage"
)

// testRandom does random operations and compares the store with a model that keeps the
// messages in slices.
func testRandom(t *testing.T, f *fixture) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	const boxes, limit = 4, 600 << 10
	model := map[mail.MailboxID][]message{}
	var ids []mail.MailboxID
	for i := range boxes {
		id := f.mailbox(fmt.Sprintf("u%d@me.com", i), quota.Limit{Octets: limit, Messages: 12})
		ids = append(ids, id)
		if i%2 == 1 { // messages put aside must not show
			f.retention(fmt.Sprintf("u%d@me.com", i), directory.Retention{Retrieved: day, Deleted: day})
		}
		model[id] = nil
	}
	fits := func(id mail.MailboxID, m message) bool {
		octets := len(m.text(id))
		for _, held := range model[id] {
			octets += len(held.text(id))
		}
		return octets <= limit && len(model[id]) < 12
	}
	for step := range 400 {
		switch r.IntN(10) {
		default:
			m := message{id: fmt.Sprint("m", step), content: strings.Repeat("x", randomSize(r))}
			for _, i := range r.Perm(boxes)[:1+r.IntN(boxes)] {
				m.to = append(m.to, ids[i])
			}
			want := true
			for _, id := range m.to {
				want = want && fits(id, m)
			}
			err := f.deliver(m)
			if err != nil && misfits(err) == nil || (err == nil) != want {
				t.Fatalf("step %d: deliver %d octets to %v: %v, want it to fit: %v", step, len(m.content), m.to, err, want)
			}
			if err == nil {
				for _, id := range m.to {
					model[id] = append(model[id], m)
				}
			}
		case 5, 6, 7:
			id := ids[r.IntN(boxes)]
			d, entries := f.openDrop(id)
			var marked []storage.Entry
			var kept []message
			for i, e := range entries {
				if r.IntN(2) == 0 {
					marked = append(marked, e)
				} else {
					kept = append(kept, model[id][i])
				}
			}
			if _, err := d.Update(background, nil, storage.Change{Expunge: storage.UIDs(marked), Retrieved: storage.UIDs(entries)}); err != nil {
				t.Fatalf("step %d: %v", step, err)
			}
			model[id] = kept
		case 8:
			id := ids[r.IntN(boxes)]
			f.wantDrop(id, model[id]...)
		case 9:
			if r.IntN(4) == 0 {
				f.reopen()
			}
		}
	}
	for _, id := range ids {
		f.wantDrop(id, model[id]...)
	}
}

// randomSize returns mostly small sizes, and sizes around the borders of pieces.
func randomSize(r *rand.Rand) int {
	if r.IntN(8) == 0 {
		return r.IntN(2)*chunk + r.IntN(3)*chunk/2 + r.IntN(3)
	}
	return r.IntN(5000)
}
