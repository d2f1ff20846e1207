package auth

import (
	"context"
	"net/netip"
	"runtime"
	"slices"
	"sync"
)

// Bounds on who may wait for a core. Each is a connection that waits for its answer,
// and takes some hundred octets more.
const (
	maxQueue    = 1024 // in all
	keptPlaces  = 256  // of them for who has logged in before
	networkMost = 64   // of one network
	siteMost    = 256  // of one site of IPv6
	nameMost    = 256  // of one name
)

// queue runs as many computations at once as there are cores: more would only
// take memory (19 MiB each) and the time of deliveries.
//
// Its places are shared out. Nobody may have more than some of them: no network, no
// site, no name. Of the cores one network, one site or one name has half at the most,
// at least one, so that somebody else's login finds one free. And who has had less
// of them comes first: each computation of a network, a site or a name puts its next
// one back by one turn, so that a guess by one of many connections from one network, or
// for one name, waits for the others of them, and no other login does.
//
// Every second turn is for who has logged in before, if one waits, and some places are
// kept for them: whatever strangers do, from however many networks, an owner waits for
// few. Which names there are shows in none of this: a name counts as such with the
// password alone that has opened it, or from a network where it was opened. Who has
// opened it does not stand behind those who guess at it.
type queue struct {
	cores int
	most  int // cores that one network, site or name may have

	mu      sync.Mutex
	running int
	waiting []*waiter // in the order in which they came
	counts  map[key]*count
	now     int  // the turn of who was let in last
	kept    bool // the next turn is for who has logged in before
}

// place is who asks for a core.
type place struct {
	networks []network
	name     uint64
	owner    bool // has logged in before, by that name
	known    bool // has logged in before, or somebody else from there
}

// turn is how far one computation puts back the next of the same network or name: a
// multiple of every share.
const turn = 16

// waiter is one that waits.
type waiter struct {
	place
	turn  int
	start chan struct{} // closed when it has a core
}

// key is a network, or a name with those who have logged in by it or all others.
type key struct {
	network netip.Prefix
	name    uint64
	owner   bool
}

// count is what a network or a name has in the queue; it is forgotten with the last.
type count struct {
	waiting, running int
	next             int // no computation has its turn before
}

func newQueue() *queue {
	cores := runtime.GOMAXPROCS(0)
	return &queue{cores: cores, most: max(1, cores/2), counts: map[key]*count{}}
}

// do runs f when a core is free for p. ErrBusy if it may not wait, or the context's
// error if that ends first; f has not run then.
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

// each calls f with the count of each network and of the name of p, how many of it count
// as one, and how many may wait.
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

// enter gives p a core, or a place to wait for one. Whoever entered must leave.
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

// leave gives the core or the place of w to others.
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

// admit lets in whom there is a core for.
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

// next is who is to be let in, or nil if nobody may be now.
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
