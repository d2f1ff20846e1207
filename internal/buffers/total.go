package buffers

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// share is the part of a total that a client network may hold while others wait: one in
// so many.
const share = 4

// Who waits for a total that networks hold more than their share of has it from them
// after yieldAfter, by when a transfer that moves has given back what it held; it looks
// again so often.
const yieldAfter = 5 * time.Second

// calm is how long nobody may have had to wait, but for networks that hold their share,
// before those may take more again: else each of the others would have to wait anew.
const calm = 10 * time.Second

// Total is an amount, of memory or disk, that transfers take from and give back. While
// nobody else waits a network may hold all of it. Who waits is served in order of arrival,
// but networks that hold their share come after those that do not, and a while later;
// and where these go on to wait, transfers of networks that hold more than their share
// are ended, the youngest first. Its methods are safe for concurrent use.
type Total struct {
	amount int64
	wait   time.Duration

	mu       sync.Mutex
	share    int64 // of one network
	free     int64
	networks map[netip.Prefix]*held
	holders  map[*holder]*holding // that took some and have not ended
	waiting  []*waiter            // in order of arrival
	scarce   time.Time            // when one had to wait whose networks hold less than their share
	last     uint64               // number of a holder
}

// held is what a network holds.
type held struct {
	octets   int64
	yielding int64 // of them, that transfers hold which are told to end
}

// waiter is one who waits.
type waiter struct {
	octets int64
	holder *holder // nil: nobody's
	served chan error
}

// NewTotal returns a total of which nothing is taken. A share is never less than what one
// transfer may need, the octets of most. Who takes waits for so long.
func NewTotal(amount, most int64, wait time.Duration) *Total {
	return &Total{
		amount: amount, share: max(amount/share, most),
		wait: wait, free: amount, networks: map[netip.Prefix]*held{}, holders: map[*holder]*holding{},
	}
}

// SetMost changes the octets that one transfer may need.
func (t *Total) SetMost(most int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.share = max(t.amount/share, most)
	t.serve()
}

// holder is a transfer of a client.
type holder struct {
	networks []netip.Prefix
	from     []*Total // that it has taken from; the transfer's own

	mu    sync.Mutex
	yield func() // nil once the transfer has ended, or is told to
}

// holding is what a holder has of a total.
type holding struct {
	number   uint64 // the youngest has the highest
	octets   int64
	yielding bool
}

type holderKey struct{}

// As returns a context for one transfer of a client: what is taken with it counts for
// these networks, until done is called, when the transfer has given all back. yield is
// called, at most once and not after done, where others need what the transfer holds: it
// must return at once and see to it that the transfer ends soon. Takes of a transfer that
// is to end fail. One goroutine at a time uses the context.
func As(ctx context.Context, networks []netip.Prefix, yield func()) (transfer context.Context, done func()) {
	h := &holder{networks: networks, yield: yield}
	return context.WithValue(ctx, holderKey{}, h), h.end
}

// end takes a transfer out of all that it took from.
func (h *holder) end() {
	h.mu.Lock()
	h.yield = nil
	h.mu.Unlock()
	for _, t := range h.from {
		t.mu.Lock()
		own := t.holders[h]
		t.count(h, own, -own.octets)
		delete(t.holders, h)
		t.serve()
		t.mu.Unlock()
	}
}

// tell has the transfer end, if it goes on.
func (h *holder) tell() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.yield != nil {
		h.yield()
		h.yield = nil
	}
}

func holderOf(ctx context.Context) *holder {
	h, _ := ctx.Value(holderKey{}).(*holder)
	return h
}

// Take takes octets. It waits where they are not free, but not for more than there are in
// all: ErrExhausted.
// Errors: ErrExhausted, or the context's.
func (t *Total) Take(ctx context.Context, octets int64) error {
	if octets > t.amount {
		return ErrExhausted
	}
	w := &waiter{octets: octets, holder: holderOf(ctx)}
	t.mu.Lock()
	if w.holder != nil && t.holders[w.holder] == nil {
		t.last++
		t.holders[w.holder] = &holding{number: t.last}
		w.holder.from = append(w.holder.from, t)
	}
	if w.holder != nil && t.holders[w.holder].yielding {
		t.mu.Unlock()
		return ErrExhausted
	}
	if t.free >= octets && !t.mustQueue(w) {
		t.grant(w)
		t.mu.Unlock()
		return nil
	}
	if t.isModest(w) {
		t.scarce = time.Now()
	}
	w.served = make(chan error, 1)
	t.waiting = append(t.waiting, w)
	t.mu.Unlock()

	patience := time.NewTimer(t.wait)
	defer patience.Stop()
	yields := time.NewTicker(yieldAfter)
	defer yields.Stop()
	for {
		select {
		case err := <-w.served:
			return err
		case <-yields.C:
			t.demand(w)
		case <-patience.C:
			return t.leave(w, ErrExhausted)
		case <-ctx.Done():
			return t.leave(w, ctx.Err())
		}
	}
}

// leave gives up waiting, unless that was served just now.
func (t *Total) leave(w *waiter, why error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case err := <-w.served:
		return err
	default:
	}
	t.remove(w)
	t.serve() // it may have stood before one for whom there is enough
	return why
}

func (t *Total) remove(w *waiter) {
	t.waiting = slices.DeleteFunc(t.waiting, func(other *waiter) bool { return other == w })
}

// Give gives octets back. For the transfer that took them they count until it is done.
func (t *Total) Give(octets int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.free += octets
	t.serve()
}

// exchange gives back what the transfer of a context took before.
func (t *Total) exchange(ctx context.Context, octets int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h := holderOf(ctx); h != nil {
		t.count(h, t.holders[h], -octets)
	}
	t.free += octets
	t.serve()
}

// grant takes for one who may have it.
func (t *Total) grant(w *waiter) {
	t.free -= w.octets
	if w.holder != nil {
		t.count(w.holder, t.holders[w.holder], w.octets)
	}
	if w.served != nil {
		w.served <- nil
	}
}

// count changes what a holder has.
func (t *Total) count(h *holder, own *holding, octets int64) {
	own.octets += octets
	for _, n := range h.networks {
		all := t.networks[n]
		if all == nil {
			all = &held{}
			t.networks[n] = all
		}
		all.octets += octets
		if own.yielding {
			all.yielding += octets
		}
		if all.octets == 0 {
			delete(t.networks, n)
		}
	}
}

// isModest reports whether the networks of one who waits hold no more than their share
// with what it waits for.
func (t *Total) isModest(w *waiter) bool {
	if w.holder == nil {
		return true
	}
	return !slices.ContainsFunc(w.holder.networks, func(n netip.Prefix) bool {
		all := t.networks[n]
		return all != nil && all.octets+w.octets > t.share
	})
}

// mustQueue reports whether others are served before one who comes now.
func (t *Total) mustQueue(w *waiter) bool {
	if !t.isModest(w) {
		return len(t.waiting) > 0 || t.isScarce()
	}
	return slices.ContainsFunc(t.waiting, t.isModest)
}

// isScarce reports whether somebody had to wait lately who holds less than its share.
func (t *Total) isScarce() bool { return time.Since(t.scarce) < calm }

// serve lets those have it whose turn it is. Nobody is passed by but by one of a network
// that holds less than its share: else who needs much would never get it.
func (t *Total) serve() {
	for len(t.waiting) > 0 {
		next := slices.IndexFunc(t.waiting, t.isModest)
		if next < 0 && t.isScarce() {
			return
		}
		next = max(next, 0)
		w := t.waiting[next]
		if t.free < w.octets {
			return
		}
		t.waiting = slices.Delete(t.waiting, next, next+1)
		t.grant(w)
	}
}

// demand has as much given back as is needed for one who waits in vain, and those before
// it, by transfers of networks that hold more than their share.
func (t *Total) demand(w *waiter) {
	t.mu.Lock()
	var told []*holder
	defer func() {
		t.mu.Unlock()
		for _, h := range told { // not under the lock: it may look here
			h.tell()
		}
	}()
	switch {
	case !slices.Contains(t.waiting, w): // served just now
		return
	case !t.isModest(w):
		t.serve() // its time may have come
		return
	}
	t.scarce = time.Now()
	asked := int64(0)
	for _, other := range t.waiting {
		if t.isModest(other) {
			asked += other.octets
		}
		if other == w {
			break
		}
	}
	// Some more than is asked for now: who waits will ask for more as its message comes.
	needed := max(asked, t.share/4) - t.free
	for _, own := range t.holders {
		if own.yielding {
			needed -= own.octets
		}
	}
	for needed > 0 {
		youngest := t.youngestBeyondItsShare()
		if youngest == nil {
			return
		}
		own := t.holders[youngest]
		needed -= own.octets
		own.yielding = true
		for _, n := range youngest.networks {
			t.networks[n].yielding += own.octets
		}
		told = append(told, youngest)
		for _, other := range t.waiting { // which nobody will serve any more
			if other.holder == youngest {
				t.remove(other)
				other.served <- ErrExhausted
				break
			}
		}
	}
}

// youngestBeyondItsShare finds the transfer that is to end next; nil: none is.
func (t *Total) youngestBeyondItsShare() *holder {
	var youngest *holder
	for h, own := range t.holders {
		if own.yielding || own.octets == 0 || youngest != nil && own.number < t.holders[youngest].number {
			continue
		}
		if slices.ContainsFunc(h.networks, func(n netip.Prefix) bool {
			all := t.networks[n]
			return all.octets-all.yielding > t.share
		}) {
			youngest = h
		}
	}
	return youngest
}
