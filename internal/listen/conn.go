package listen

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// Conn is a connection of a [Group]. It knows whether its session waits for a command or
// is at work: a drain ends sessions that wait, and lets the others finish. The caller
// reads and writes as with any net.Conn; the methods that set a state or a deadline are
// safe for concurrent use.
type Conn struct {
	net.Conn
	group    *Group
	client   netip.Addr
	networks []Counted // in which it counts; none: not counted for a client yet
	proxied  bool      // it comes from a proxy
	trusted  bool      // its client is in a trusted network
	probe    bool      // it is a health check of the proxy itself
	ahead    []byte    // read together with the proxy's header, but behind it

	id    uint64 // in its group
	since time.Time

	mu      sync.Mutex
	waiting bool // for the peer's next command
	saying  bool // a reply is being written
	awoken  bool
	ended   bool       // by the administrator
	known   netip.Addr // the client's address, once it is known
	who     string
	tls     string

	closing sync.Once
	closed  error
}

// Client returns the client's address, not that of a proxy in front of it.
func (c *Conn) Client() netip.Addr { return c.client }

// Loopback reports whether the client is on this machine. It is false for every connection
// that comes from a proxy: neither the proxy's own address nor its header is proof.
func (c *Conn) Loopback() bool { return !c.proxied && c.client.IsLoopback() }

// Networks returns the networks in which the client counts, see [Networks].
func (c *Conn) Networks() []netip.Prefix {
	all := make([]netip.Prefix, len(c.networks))
	for i, n := range c.networks {
		all[i] = n.Network
	}
	return all
}

// Trusted reports whether the client is in one of the networks that were trusted when it
// connected. Refusals and guesses are not counted against such a client. With a proxy, the
// client that its header names decides, and is never taken for one on this machine.
func (c *Conn) Trusted() bool { return c.trusted }

// Probe reports whether the connection is a health check of a proxy.
func (c *Conn) Probe() bool { return c.probe }

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	if len(c.ahead) > 0 {
		n := copy(p, c.ahead)
		c.ahead = c.ahead[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// AwaitCommand declares that the session waits for its peer's next command, and sets the
// read deadline. It returns ErrDraining if the server is shutting down. If a shutdown
// begins during the wait, the read fails with a timeout and [Conn.Draining] is true.
func (c *Conn) AwaitCommand(timeout time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.awoken {
		return ErrDraining
	}
	c.waiting = true
	return c.Conn.SetReadDeadline(time.Now().Add(timeout))
}

// Working declares that a command or a transfer is being worked on.
func (c *Conn) Working() {
	c.mu.Lock()
	c.waiting = false
	c.mu.Unlock()
}

// Saying declares that the session writes a reply, and sets the write deadline. A reply is
// no transfer: once a drain has begun, the write fails with a timeout after a second. The
// caller calls [Conn.Said] after the write.
func (c *Conn) Saying(timeout time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.saying = true
	if c.awoken {
		timeout = min(timeout, sayingWithin)
	}
	return c.Conn.SetWriteDeadline(time.Now().Add(timeout))
}

// Said declares that the write of the reply has ended, with or without an error.
func (c *Conn) Said() {
	c.mu.Lock()
	c.saying = false
	c.mu.Unlock()
}

// Draining reports whether [Group.Drain] or [Group.End] has reached this connection.
func (c *Conn) Draining() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.awoken
}

// Ended reports whether [Group.End] has ended this session.
func (c *Conn) Ended() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// Know notes who the client is (its mailbox, or the name it gave in EHLO) and its TLS
// version and suite, for [Group.Sessions]. An empty argument changes nothing.
func (c *Conn) Know(who, tls string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if who != "" {
		c.who = who
	}
	if tls != "" {
		c.tls = tls
	}
}

// sayingWithin is how long a reply may take in a drain.
const sayingWithin = time.Second

// wake makes the wait for a command fail with a timeout now. If the session is at work,
// its next AwaitCommand fails with ErrDraining.
func (c *Conn) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.awoken = true
	if c.waiting {
		c.Conn.SetReadDeadline(time.Unix(1, 0))
	}
	if c.saying {
		c.Conn.SetWriteDeadline(time.Now().Add(sayingWithin))
	}
}

// Close closes the connection and takes it out of its group. It may be called more than
// once, and returns the first result again.
func (c *Conn) Close() error {
	c.closing.Do(func() {
		c.closed = c.Conn.Close()
		c.group.release(c)
	})
	return c.closed
}
