package storage

import (
	"context"
	"errors"
	"slices"
	"testing"

	"mailsrv/quota"
)

// listed is a maildrop that only lists, and fails at the given piece.
type listed struct {
	Maildrop
	entries []Entry
	fail    int
}

var errList = errors.New("no list")

func (l *listed) Usage() quota.Usage { return quota.Usage{Messages: int64(len(l.entries))} }

func (l *listed) Entries(_ context.Context, from UID, most int) ([]Entry, error) {
	if l.fail--; l.fail == 0 {
		return nil, errList
	}
	at, _ := slices.BinarySearchFunc(l.entries, from, func(e Entry, uid UID) int { return int(e.UID) - int(uid) })
	return l.entries[at:min(len(l.entries), at+most)], nil
}

func TestAllEntries(t *testing.T) {
	for _, n := range []int{0, 1, perPiece - 1, perPiece, perPiece + 1, 2 * perPiece, 3*perPiece + 7} {
		l := &listed{}
		for i := range n {
			l.entries = append(l.entries, Entry{UID: MaxUID - UID(3*(n-1-i))})
		}
		got, err := AllEntries(t.Context(), l)
		if err != nil || !slices.Equal(got, l.entries) || len(UIDs(got)) != n {
			t.Errorf("%d of %d, %v", len(got), n, err)
		}
		for l.fail = 1; l.fail <= n/perPiece; {
			again := *l
			if _, err := AllEntries(t.Context(), &again); !errors.Is(err, errList) {
				t.Errorf("of %d, piece %d: %v", n, l.fail, err)
			}
			l.fail++
		}
	}
}
