package pop3d

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"time"

	"mailsrv/internal/buffers"
	"mailsrv/internal/listen"
	"mailsrv/storage"
)

// stream is a session's connection below TLS. All octets pass through it: it sets every
// deadline and measures silence.
type stream struct {
	*listen.Conn
	idle     time.Duration // a write fails if no octet is taken for this time
	deadline time.Time     // of reads
	yielded  atomic.Bool   // others need the memory that the transfer holds
	minRate  int64         // octets per second that the client must take, after RateGrace
	sent     int           // octets since the client last had received all
	waited   time.Duration // for the client to take them
	transfer bool          // what is written is mail, or a list of it, which a drain lets finish

	// Of the maildrop, once there is one.
	ctx      context.Context // for calls to the store
	claim    storage.Claim
	patience time.Duration // silence after which another session may take the maildrop
	lost     error         // why the claim was lost; nil: it was not
}

// fastOctets is what any client takes within the idle timeout. Progress is checked only
// for transfers of more octets.
const fastOctets = 16 << 10

// Read waits for octets from the client. A client that still receives what the kernel holds
// is not silent: the wait begins anew as long as that shrinks, and fast enough.
func (w *stream) Read(p []byte) (int, error) {
	w.transfer = false // all of it has been written
	pending := int32(0)
	if w.sent > fastOctets {
		pending = w.Pending()
	}
	if pending == 0 && w.sent > fastOctets {
		w.sent = 0
	}
	if pending == 0 {
		w.waited = 0
	}
	for {
		begun := time.Now()
		n, err := w.await(p)
		if pending > 0 {
			w.waited += time.Since(begun)
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || w.lost != nil || w.Draining() {
			return n, err
		}
		still := w.Pending()
		if still >= pending || w.tooSlow() {
			return n, err
		}
		pending = still
		w.deadline = time.Now().Add(w.idle)
	}
}

// await waits once for octets. Meanwhile a drain may end the session, and another login
// may take its maildrop.
func (w *stream) await(p []byte) (int, error) {
	now := time.Now()
	if err := w.Conn.AwaitCommand(w.deadline.Sub(now)); err != nil {
		return 0, err
	}
	defer w.Conn.Working()
	if w.claim == nil {
		return w.Conn.Read(p)
	}
	w.claim.Yield(now.Add(w.patience))
	n, err := w.Conn.Read(p)
	w.lost = w.claim.Hold(w.ctx)
	return n, err
}

// RateGrace is how long the server waits for a client to take what it asked for, in all,
// before [Settings].MinRate applies.
const RateGrace = 10 * time.Minute

// rateEvery is how often the rate is checked from then on.
const rateEvery = 10 * time.Second

// errTooSlow ends a session whose client takes what it asked for too slowly.
var errTooSlow = errors.New("slower than the least rate")

// tooSlow reports whether the client takes octets more slowly than it may. Only the time
// counts in which the server waited for the client.
func (w *stream) tooSlow() bool {
	taken := w.sent - int(w.Pending())
	return w.waited >= RateGrace && float64(taken) < w.waited.Seconds()*float64(w.minRate)
}

// Write sends p, however long the whole takes. It fails if no octet is taken for the idle
// timeout, or if octets are taken too slowly.
func (w *stream) Write(p []byte) (int, error) {
	sent, moved := 0, time.Now()
	for {
		begun := time.Now()
		n, err := w.writeSome(p[sent:], min(moved.Add(w.idle).Sub(begun), max(RateGrace-w.waited, rateEvery)))
		now := time.Now()
		sent += n
		w.sent += n
		w.waited += now.Sub(begun)
		if n > 0 {
			moved = now
		}
		switch {
		case w.transfer && w.yielded.Load() && err != nil:
			return sent, errYield
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return sent, err
		case w.tooSlow():
			return sent, errTooSlow
		case now.Sub(moved) >= w.idle, w.Draining() && !w.transfer:
			return sent, err
		}
	}
}

// writeSome sends what the client takes of p within the given time. It returns the octets
// sent.
func (w *stream) writeSome(p []byte, within time.Duration) (int, error) {
	if w.transfer {
		w.Conn.SetWriteDeadline(time.Now().Add(within))
		if w.yielded.Load() {
			return 0, errYield
		}
		return w.Conn.Write(p)
	}
	w.Conn.Saying(within)
	defer w.Conn.Said()
	return w.Conn.Write(p)
}

// errYield ends a session in a transfer whose memory others need.
var errYield = errors.New("others need the memory that its transfer holds")

// shortTransfer is the most octets of a transfer that need not be counted as one: all the
// connections of one client together hold less than its share with such transfers.
const shortTransfer = 16 << 10

// transferBegins begins a transfer to the client, which a drain lets finish. It returns the
// context for reading the message and taking memory. If others need that memory, the
// transfer's next write fails. The caller calls done when the transfer has given its memory
// back.
func (w *stream) transferBegins(ctx context.Context, octets int64) (transfer context.Context, done func()) {
	w.transfer = true
	if octets <= shortTransfer {
		return ctx, func() {}
	}
	w.yielded.Store(false)
	ctx, ended := buffers.As(ctx, w.Networks(), func() {
		w.yielded.Store(true) // before the deadline, which the session sets before it looks
		w.Conn.SetWriteDeadline(time.Unix(1, 0))
	})
	return ctx, func() {
		ended()
		w.yielded.Store(false) // what is still to be written holds nothing
	}
}

// sending reports whether the client has not received yet all that was written. It is safe
// for concurrent use.
func (w *stream) sending() bool { return w.Pending() > 0 }

// Sizes of a session's buffers, in octets. A session that waits holds the read buffer
// alone. A write buffer holds a message of common size together with its reply line and
// final dot, so that they leave in one write.
const (
	readBuffer  = 2 << 10
	writeBuffer = 32 << 10
)
