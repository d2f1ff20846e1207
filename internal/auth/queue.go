package auth

import (
	"context"
	"net/netip"
	"runtime"
	"slices"
	"sync"
)

// Bounds on the computations that may wait for a core. Each one is a connection that waits
// for its answer, and takes some hundred octets besides.
const (
	maxQueue    = 1024 // in all
	keptPlaces  = 256  // of maxQueue, for clients that have logged in before
	networkMost = 64   // of one network
	siteMost    = 256  // of one site of IPv6
	nameMost    = 256  // of one name
)

// queue runs as many computations at once as there are cores: more would only take memory
// (19 MiB each) and time from deliveries.
//
// Its places are shared out. The places of one network, one site and one name are bounded.
// One network, site or name runs on at most half of the cores, but at least one, so that
// somebody else's login finds a free core. Those that have used less come first: each
// computation of a network, a site or a name puts its next one back by one turn. So many
// connections from one network, or for one name, wait for each other, and no other login
// waits for them.
//
// Every second turn is for clients that have logged in before, if one waits, and some
// places are kept for them. So an owner waits for few computations, from however many
// networks strangers guess. None of this shows which names exist: a client counts as an
// owner only with the password that has opened the name before, or from a network where it
// was opened. Owners do not wait behind those who guess at their name.
type queue struct {
	cores int
	most  int // cores that one network, site or name may have

	mu      sync.Mutex
	running int
	waiting []*waiter // in order of arrival
	counts  map[key]*count
	now     int  // the latest turn that was let in
	kept    bool // the next turn is for a client that has logged in before
}

// place describes a client that asks for a core.
type place struct {
	networks []network
	name     uint64
	owner    bool // it has logged in before, with that name
	known    bool // it has logged in before, or another client of its network has
}

// turn is how far one computation puts back the next one of the same network or name. It
// is a multiple of every share.
const turn = 16

// waiter is a computation that waits for a core or has one.
type waiter struct {
	place
	turn  int
	start chan struct{} // closed when it has a core
}

// key is a network; or a name, apart for its owners and for all others.
type key struct {
	network netip.Prefix
	name    uint64
	owner   bool
}

// count is what a network or a name has in the queue. It is deleted with the last of them.
type count struct {
	waiting, running int
	next             int // earliest turn of the next computation
}

func newQueue() *queue {
	cores := runtime.GOMAXPROCS(0)
	return &queue{cores: cores, most: max(1, cores/2), counts: map[key]*count{}}
}

// do runs f when a core is free for p. Errors: ErrBusy if it may not wait, or the
// context's; f has not run then.
func (q *queue) do(ctx context.Context, p place, f func()) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w, err := q.enter(p)
	if err != nil {
		return err
	}
	select {
	case <-w.start:
	case <-ctx.Done():
		q.leave(w)
		return ctx.Err()
	}
	defer q.leave(w)
	f()
	return nil
}

// each calls f for each network and for the name of p: with its count, its share, and the
// number that may wait.
func (q *queue) each(p place, f func(c *count, share, most int)) {
	of := func(k key, share, most int) {
		c := q.counts[k]
		if c == nil {
			c = &count{next: q.now}
			q.counts[k] = c
		}
		f(c, share, most)
		if c.waiting == 0 && c.running == 0 {
			delete(q.counts, k)
		}
	}
	for _, n := range p.networks {
		most := networkMost
		if n.share > 1 {
			most = siteMost
		}
		of(key{network: n.prefix}, n.share, most)
	}
	of(key{name: p.name, owner: p.owner}, 1, nameMost)
}

// enter gives p a core, or a place to wait for one. The caller must call leave afterwards.
// Error: ErrBusy.
func (q *queue) enter(p place) (*waiter, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	places := maxQueue
	if !p.known {
		places -= keptPlaces
	}
	free := len(q.waiting) < places
	w := &waiter{place: p, turn: q.now, start: make(chan struct{})}
	q.each(p, func(c *count, _, most int) {
		free = free && c.waiting < most
		w.turn = max(w.turn, c.next)
	})
	if !free {
		return nil, ErrBusy
	}
	q.each(p, func(c *count, share, _ int) {
		c.waiting++
		c.next = max(c.next, w.turn) + turn/share
	})
	q.waiting = append(q.waiting, w)
	q.admit()
	return w, nil
}

// leave frees the core or the place of w.
func (q *queue) leave(w *waiter) {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, w)
	if i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
	} else {
		q.running--
	}
	q.each(w.place, func(c *count, _, _ int) {
		if i >= 0 {
			c.waiting--
		} else {
			c.running--
		}
	})
	q.admit()
}

// admit gives free cores to those that wait, in their turn.
func (q *queue) admit() {
	for q.running < q.cores {
		w := q.next()
		if w == nil {
			return
		}
		i := slices.Index(q.waiting, w)
		q.waiting = slices.Delete(q.waiting, i, i+1)
		q.running++
		q.each(w.place, func(c *count, _, _ int) {
			c.waiting--
			c.running++
		})
		q.now = max(q.now, w.turn)
		q.kept = !q.kept
		close(w.start)
	}
}

// next returns the waiter to be let in next, or nil if none may be now.
func (q *queue) next() (first *waiter) {
	better := func(w *waiter) bool {
		if q.kept && w.known != first.known {
			return w.known
		}
		return w.turn < first.turn
	}
	for _, w := range q.waiting {
		may := true
		q.each(w.place, func(c *count, _, _ int) { may = may && c.running < q.most })
		if may && (first == nil || better(w)) {
			first = w
		}
	}
	return first
}
