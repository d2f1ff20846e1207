// Package buffers lends the memory that messages pass through. A [Pool] bounds the
// octets lent at a time, whatever the number of peers. A [Total], which memory and
// staging have, gives a client network no more than its share while others wait.
package buffers

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Max is the largest buffer lent, in octets. Longer messages are moved in pieces.
const Max = 256 << 10

// sizes are the capacities lent, in octets.
var sizes = [...]int{8 << 10, 64 << 10, Max}

// ErrExhausted: no memory came free within the pool's wait. It is a temporary failure.
var ErrExhausted = errors.New("no memory for message buffers within the wait")

// Pool lends buffers up to a total of octets. All methods are safe for concurrent use.
type Pool struct {
	total *Total
	free  [len(sizes)]sync.Pool
}

// NewPool returns a pool that lends at most total octets at a time, or Max if total is
// less. A borrower waits for memory for at most wait.
func NewPool(total int64, wait time.Duration) *Pool {
	// A buffer that grows is held beside the larger one.
	most := int64(Max + sizes[len(sizes)-2])
	return &Pool{total: NewTotal(max(total, Max), most, wait)}
}

// Get lends an empty buffer with a capacity of at least n octets, at most [Max], to the
// transfer of the context, see [As]. The caller gives it back with Put. Errors:
// [ErrExhausted], or the context's.
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

// Reserve counts n octets of memory that the caller allocates itself against the total.
// n is at most [Max]. The caller gives them back with Release. Errors as of Get.
func (p *Pool) Reserve(ctx context.Context, n int64) error {
	return p.total.Take(ctx, n)
}

// Release gives n reserved octets back.
func (p *Pool) Release(n int64) { p.total.Give(n) }

// Put takes a lent buffer back. The caller must not use it again. Put(nil) does nothing.
func (p *Pool) Put(b []byte) {
	if b == nil {
		return
	}
	p.keep(b)
	p.Release(int64(cap(b)))
}

// keep makes a buffer available again. Whoever gets it has taken its octets before.
func (p *Pool) keep(b []byte) { p.free[classOf(cap(b))].Put(&b) }

// Grow exchanges b for a buffer with the same content and a capacity of at least n
// octets. It returns b itself if that is large enough. After an error b is still lent.
// Errors as of Get.
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

func classOf(n int) int {
	for i, size := range sizes {
		if n <= size {
			return i
		}
	}
	panic("buffers: more than Max asked for")
}
