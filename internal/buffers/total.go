package buffers

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// share is the divisor for a network's share: while others wait, one client network may
// hold a quarter of a total.
const share = 4

// yieldAfter is how long a transfer waits before transfers of networks above their share
// are ended for it, and how often it looks again. A transfer that makes progress has given
// back what it held by then.
const yieldAfter = 5 * time.Second

// calm is how long no network below its share may have had to wait before networks above
// theirs may take more again. Without it, each of the others would have to wait anew.
const calm = 10 * time.Second

// Total is an amount of memory or disk, in octets, that transfers take from and give back.
// While nobody else waits, one network may hold all of it. Waiting transfers are served in
// order of arrival, but those of networks that would exceed their share come after the
// others, and only once those have not had to wait for a while. If the others still wait,
// transfers of networks that hold more than their share are ended, the youngest first. All
// methods are safe for concurrent use.
type Total struct {
	amount int64
	wait   time.Duration

	mu       sync.Mutex
	share    int64 // of one network
	free     int64
	networks map[netip.Prefix]*held
	holders  map[*holder]*holding // transfers that have called Take and have not ended
	waiting  []*waiter            // in order of arrival
	scarce   time.Time            // when a transfer of networks below their share last had to wait
	last     uint64               // number of the youngest holder
}

// held is what a network holds.
type held struct {
	octets   int64
	yielding int64 // part of octets, held by transfers that were told to end
}

// waiter is one call of Take that waits.
type waiter struct {
	octets int64
	holder *holder // nil: of no client
	served chan error
}

// NewTotal returns a total of amount octets, all of them free. most is the number of octets
// that one transfer may need: a network's share is never less. wait is how long
// [Total.Take] waits at most.
func NewTotal(amount, most int64, wait time.Duration) *Total {
	return &Total{
		amount: amount, share: max(amount/share, most),
		wait: wait, free: amount, networks: map[netip.Prefix]*held{}, holders: map[*holder]*holding{},
	}
}

// SetMost changes the number of octets that one transfer may need.
func (t *Total) SetMost(most int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.share = max(t.amount/share, most)
	t.serve()
}

// holder is a transfer of a client.
type holder struct {
	networks []netip.Prefix
	from     []*Total // totals it has taken from; only the transfer's goroutine uses it

	mu    sync.Mutex
	yield func() // nil once the transfer has ended or was told to
}

// holding is what a holder has of a total.
type holding struct {
	number   uint64 // the youngest has the highest
	octets   int64
	yielding bool
}

type holderKey struct{}

// As returns a context for one transfer of a client. Octets taken with it count for the
// given networks until done is called. The caller calls done when the transfer has given
// everything back.
//
// yield is called when others need what the transfer holds, at most once and not after
// done. It must return at once and make the transfer end soon. From then on [Total.Take]
// fails for this transfer. Only one goroutine at a time may take with the context.
func As(ctx context.Context, networks []netip.Prefix, yield func()) (transfer context.Context, done func()) {
	h := &holder{networks: networks, yield: yield}
	return context.WithValue(ctx, holderKey{}, h), h.end
}

// end removes a transfer from every total that it took from.
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

// tell makes the transfer end, if it still runs.
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

// Take takes octets, and waits until they are free. It does not wait for more octets than
// the whole total has. Errors: ErrExhausted (the total is too small, the wait was too long,
// or the transfer was told to end), or the context's.
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

// leave gives up waiting and returns why, unless w was served just now.
func (t *Total) leave(w *waiter, why error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case err := <-w.served:
		return err
	default:
	}
	t.remove(w)
	t.serve() // there may be enough for one that waited behind it
	return why
}

func (t *Total) remove(w *waiter) {
	t.waiting = slices.DeleteFunc(t.waiting, func(other *waiter) bool { return other == w })
}

// Give gives octets back. They still count for the transfer that took them until its done
// is called, see [As].
func (t *Total) Give(octets int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.free += octets
	t.serve()
}

// exchange gives octets back, and stops counting them for the transfer of ctx at once.
func (t *Total) exchange(ctx context.Context, octets int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h := holderOf(ctx); h != nil {
		t.count(h, t.holders[h], -octets)
	}
	t.free += octets
	t.serve()
}

// grant takes the octets for w, whose turn it is.
func (t *Total) grant(w *waiter) {
	t.free -= w.octets
	if w.holder != nil {
		t.count(w.holder, t.holders[w.holder], w.octets)
	}
	if w.served != nil {
		w.served <- nil
	}
}

// count adds octets, which may be negative, to what a holder and its networks hold.
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

// isModest reports whether the networks of w would hold no more than their share once it
// has what it waits for.
func (t *Total) isModest(w *waiter) bool {
	if w.holder == nil {
		return true
	}
	return !slices.ContainsFunc(w.holder.networks, func(n netip.Prefix) bool {
		all := t.networks[n]
		return all != nil && all.octets+w.octets > t.share
	})
}

// mustQueue reports whether others are served before w, which arrives now.
func (t *Total) mustQueue(w *waiter) bool {
	if !t.isModest(w) {
		return len(t.waiting) > 0 || t.isScarce()
	}
	return slices.ContainsFunc(t.waiting, t.isModest)
}

// isScarce reports whether a transfer of networks below their share had to wait lately.
func (t *Total) isScarce() bool { return time.Since(t.scarce) < calm }

// serve grants octets to waiting transfers in their turn. Only a transfer of networks below
// their share may overtake another: otherwise one that needs much would never be served.
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

// demand ends transfers of networks that hold more than their share, until enough will be
// given back for w, which has waited in vain, and for those before it.
func (t *Total) demand(w *waiter) {
	t.mu.Lock()
	var told []*holder
	defer func() {
		t.mu.Unlock()
		for _, h := range told { // not under the lock: yield may call this total
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
	// Somewhat more than is asked for now: w will ask for more as its message comes.
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
		for _, other := range t.waiting { // its own wait, if any, is in vain now
			if other.holder == youngest {
				t.remove(other)
				other.served <- ErrExhausted
				break
			}
		}
	}
}

// youngestBeyondItsShare returns the transfer to end next: the youngest of a network that
// holds more than its share. nil: there is none.
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
