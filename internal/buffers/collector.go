package buffers

import "context"

// Collector gathers content in one buffer of a pool. Whenever that has [Max] octets and
// more content comes, it hands them to a function that keeps them elsewhere. It is used by
// one goroutine.
//
// The buffer begins with the smallest size, since announcing a size costs a sender nothing.
// When the content does not fit any more, the buffer takes the whole announced size at once.
// So transfers that wait for memory hold little of it, and all get it in turn.
type Collector struct {
	pool     *Pool
	ctx      context.Context
	promised int // announced octets, at most Max
	stage    func(full []byte) error
	buffer   []byte
	octets   int64
	err      error // of an earlier Write
}

// NewCollector returns a collector whose content is announced to have promised octets; 0:
// unknown. ctx ends waiting for memory. stage keeps a full buffer, which it must not hold
// on to. The caller calls Free when it is done. Errors as of [Pool.Get].
func NewCollector(ctx context.Context, pool *Pool, promised int64, stage func(full []byte) error) (Collector, error) {
	buffer, err := pool.Get(ctx, 0)
	return Collector{pool: pool, ctx: ctx, promised: int(min(promised, Max)), stage: stage, buffer: buffer}, err
}

// Octets returns how many octets were written.
func (c *Collector) Octets() int64 { return c.octets }

// Rest returns the content that was not staged, valid until the next Write or Free.
func (c *Collector) Rest() []byte { return c.buffer }

// Err returns the error of an earlier Write.
func (c *Collector) Err() error { return c.err }

// Write implements io.Writer. Errors as of [Pool.Get], or of the function that stages;
// after one each further Write fails with it.
func (c *Collector) Write(p []byte) (int, error) {
	if c.err == nil && len(c.buffer)+len(p) <= cap(c.buffer) { // a line nearly always fits
		c.buffer = append(c.buffer, p...)
		c.octets += int64(len(p))
		return len(p), nil
	}
	written := 0
	for len(p) > 0 && c.err == nil {
		if len(c.buffer) == Max {
			if c.err = c.stage(c.buffer); c.err == nil {
				c.buffer = c.buffer[:0]
			}
			continue
		}
		n := min(len(p), Max-len(c.buffer))
		if all := len(c.buffer) + n; all > cap(c.buffer) {
			if c.buffer, c.err = c.pool.Grow(c.ctx, c.buffer, max(all, c.promised)); c.err != nil {
				break
			}
		}
		c.buffer = append(c.buffer, p[:n]...)
		p = p[n:]
		written += n
		c.octets += int64(n)
	}
	return written, c.err
}

// Free gives the buffer back. It may be called again.
func (c *Collector) Free() {
	c.pool.Put(c.buffer)
	c.buffer = nil
}
