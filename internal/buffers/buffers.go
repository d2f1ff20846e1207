// Package buffers lends the memory that messages pass through. All of it comes
// from one pool with a total, so that no number of peers can take more, and no client
// network holds more than its share while others wait.
package buffers

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Max is the largest buffer lent: a longer message is moved in pieces of it.
const Max = 256 << 10

// sizes are the capacities lent, in octets.
var sizes = [...]int{8 << 10, 64 << 10, Max}

// ErrExhausted says that the total stayed lent for the whole wait: a temporary
// failure.
var ErrExhausted = errors.New("no memory for message buffers within the wait")

// Pool lends buffers up to a total.
type Pool struct {
	total *Total
	free  [len(sizes)]sync.Pool
}

// NewPool lends at most total octets at a time (at least one largest buffer)
// and lets a borrower wait so long.
func NewPool(total int64, wait time.Duration) *Pool {
	// A buffer that grows is held beside the larger one.
	most := int64(Max + sizes[len(sizes)-2])
	return &Pool{total: NewTotal(max(total, Max), most, wait)}
}

// Get lends an empty buffer that holds at least n octets, n at most Max, to the transfer of
// the context, see As. ErrExhausted if there is none in time, or the context's error.
func (p *Pool) Get(ctx context.Context, n int) ([]byte, error) {
	class := classOf(n)
	size := sizes[class]
	if err := p.Reserve(ctx, int64(size)); err != nil {
		return nil, err
	}
	if b, ok := p.free[class].Get().(*[]byte); ok {
		return (*b)[:0], nil
	}
	return make([]byte, 0, size), nil
}

// Reserve counts n octets, at most Max, of memory that the caller gets elsewhere
// against the total. Errors as of Get.
func (p *Pool) Reserve(ctx context.Context, n int64) error {
	return p.total.Take(ctx, n)
}

// Release gives n reserved octets back.
func (p *Pool) Release(n int64) { p.total.Give(n) }

// Put takes a lent buffer back; nil is let pass. The caller must not use it
// again.
func (p *Pool) Put(b []byte) {
	if b == nil {
		return
	}
	p.keep(b)
	p.Release(int64(cap(b)))
}

// keep has a buffer lent again. Whoever gets it has taken its octets before.
func (p *Pool) keep(b []byte) { p.free[classOf(cap(b))].Put(&b) }

// Grow exchanges b for a larger buffer with the same content, or returns b
// itself if n octets fit already. After an error b is still lent.
func (p *Pool) Grow(ctx context.Context, b []byte, n int) ([]byte, error) {
	if n <= cap(b) {
		return b, nil
	}
	larger, err := p.Get(ctx, n)
	if err != nil {
		return b, err
	}
	larger = append(larger, b...)
	if b != nil {
		p.keep(b)
		p.total.exchange(ctx, int64(cap(b)))
	}
	return larger, nil
}

// Fill appends to b the octets at the start of the given ones that it has room for below Max, and
// returns how many. Where b is too small it is exchanged for one that holds promised
// octets, at most Max, or what there is if that is more. After an error nothing was
// appended and b is still lent.
func (p *Pool) Fill(ctx context.Context, b, octets []byte, promised int) ([]byte, int, error) {
	n := min(len(octets), Max-len(b))
	if all := len(b) + n; all > cap(b) {
		var err error
		if b, err = p.Grow(ctx, b, max(all, promised)); err != nil {
			return b, 0, err
		}
	}
	return append(b, octets[:n]...), n, nil
}

func classOf(n int) int {
	for i, size := range sizes {
		if n <= size {
			return i
		}
	}
	panic("buffers: more than Max asked for")
}
