package proof

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// administrator changes mailboxes and quotas by the command line, is killed in
// the middle of it now and then, and knows what must be true afterwards.
type administrator struct {
	t *testing.T
	s *server
	l *ledger

	made  int
	limit []int64 // that the mailbox "limited" may have; one when it is certain

	mu      sync.Mutex
	passers map[string]certainty // mailboxes that come and go, by local part
}

// limited is the mailbox whose limit changes. It gets no mail.
const limited = "limited"

type certainty int

const (
	there certainty = iota
	doubtful
	away
)

// newAdministrator begins with the limit that "limited" was made with, in octets;
// -1 where it inherits one.
func newAdministrator(t *testing.T, s *server, l *ledger, limit int64) *administrator {
	return &administrator{t: t, s: s, l: l, limit: []int64{limit}, passers: map[string]certainty{}}
}

// passing returns a mailbox that will be removed soon, or none.
func (a *administrator) passing() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	for name, state := range a.passers {
		if state == there {
			return []string{name}
		}
	}
	return nil
}

func (a *administrator) set(name string, state certainty) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.passers[name] = state
}

// act carries out one command.
func (a *administrator) act(r *rand.Rand) {
	switch name := a.passing(); {
	case r.IntN(3) == 0:
		a.setLimit(r)
	case name != nil && r.IntN(2) == 0:
		a.remove(r, name[0])
	default:
		a.add(r)
	}
}

// order runs a command, which may be killed, and reports whether it is certain
// that it was obeyed.
func (a *administrator) order(r *rand.Rand, stdin string, args ...string) bool {
	ctx := context.Background()
	if r.IntN(4) == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, between(r, time.Millisecond, 150*time.Millisecond))
		defer cancel()
	}
	o := run(a.s.command(ctx, stdin, args...))
	if o.code > 0 {
		a.t.Errorf("mailsrv %q: exit %d: %s", args, o.code, o.stderr)
	}
	return o.code == 0
}

func (a *administrator) add(r *rand.Rand) {
	a.made++
	name := fmt.Sprintf("passing-%d", a.made)
	a.l.addBox(name)
	a.set(name, doubtful)
	if a.order(r, password+"\n", "mailbox", "add", address(name), "--password-stdin") {
		a.set(name, there)
	}
}

func (a *administrator) remove(r *rand.Rand, name string) {
	a.l.forget(name)
	a.set(name, doubtful)
	if a.order(r, "", "mailbox", "remove", address(name), "--yes") {
		a.set(name, away)
	}
}

func (a *administrator) setLimit(r *rand.Rand) {
	limit := r.Int64N(1 << 40)
	a.limit = append(a.limit, limit)
	if a.order(r, "", "quota", "set", address(limited), strconv.FormatInt(limit, 10)) {
		a.limit = []int64{limit}
	}
}

// audit holds the directory against the commands that were obeyed.
func (a *administrator) audit() {
	a.t.Helper()
	var all []struct {
		Address string
		Quota   struct {
			Own *int64 `json:"own_limit_octets"`
		}
	}
	if err := json.Unmarshal([]byte(a.s.do("", "mailbox", "list", "--json")), &all); err != nil {
		a.t.Fatal(err)
	}
	found := map[string]bool{}
	for _, m := range all {
		found[m.Address] = true
		if m.Address == address(limited) {
			limit := int64(-1)
			if m.Quota.Own != nil {
				limit = *m.Quota.Own
			}
			if !slices.Contains(a.limit, limit) {
				a.t.Errorf("the limit is %d, it was set to %v", limit, a.limit)
			}
			a.limit = []int64{limit}
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for name, state := range a.passers {
		is := found[address(name)]
		if state == there && !is || state == away && is {
			a.t.Errorf("mailbox %s: added or removed with success, but there: %v", name, is)
		}
		switch {
		case !is:
			a.l.forget(name)
			delete(a.passers, name)
		case state == doubtful:
			a.l.forget(name) // what it holds depends on how far the removal was
			delete(a.passers, name)
		}
	}
}
