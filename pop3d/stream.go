package pop3d

import (
	"context"
	"errors"
	"os"
	"time"

	"mailsrv/internal/listen"
	"mailsrv/storage"
)

// stream is a session's connection below TLS, the one place where octets are
// seen to flow: every deadline is set here, and silence is measured here.
type stream struct {
	*listen.Conn
	idle     time.Duration // without an octet taken, a write fails
	deadline time.Time     // of reads
	sent     int           // octets since the client was known to have all
	transfer bool          // what is written is mail, or a list of it, which a drain lets finish

	// Of the maildrop, once there is one.
	ctx      context.Context // of what is asked of the store
	claim    storage.Claim
	patience time.Duration // silence after which another session may take it
	lost     error         // why it is not the session's any more
}

// fastOctets is what any client takes within the idle timeout: less needs no
// look at how it fares.
const fastOctets = 16 << 10

// Read waits for octets from the client. A client that still receives what the
// kernel holds is not silent: the wait begins anew while that grows less.
func (w *stream) Read(p []byte) (int, error) {
	w.transfer = false // all of it has been written
	pending := int32(0)
	if w.sent > fastOctets {
		if pending = w.Pending(); pending == 0 {
			w.sent = 0
		}
	}
	for {
		n, err := w.await(p)
		if !errors.Is(err, os.ErrDeadlineExceeded) || w.lost != nil || w.Draining() {
			return n, err
		}
		still := w.Pending()
		if still >= pending {
			return n, err
		}
		pending = still
		w.deadline = time.Now().Add(w.idle)
	}
}

// await waits once: here a drain finds the session idle, and another login may
// take its maildrop.
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

// Write sends p. It fails once no octet has been taken for the idle timeout,
// however long the whole takes.
func (w *stream) Write(p []byte) (int, error) {
	sent := 0
	for {
		n, err := w.writeSome(p[sent:])
		sent += n
		w.sent += n
		if n > 0 && errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		return sent, err
	}
}

// writeSome sends what the client takes of p within the idle timeout.
func (w *stream) writeSome(p []byte) (int, error) {
	if w.transfer {
		w.Conn.SetWriteDeadline(time.Now().Add(w.idle))
		return w.Conn.Write(p)
	}
	w.Conn.Saying(w.idle)
	defer w.Conn.Said()
	return w.Conn.Write(p)
}

// sending says whether the client has not got all yet of what was written. It
// may be called beside all else.
func (w *stream) sending() bool { return w.Pending() > 0 }

// Sizes of a session's buffers. A session that waits holds the read buffer
// alone; a write buffer takes a message of common size together with its reply
// line and final dot, so that they leave in one packet.
const (
	readBuffer  = 2 << 10
	writeBuffer = 32 << 10
)
