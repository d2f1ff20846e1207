package listen

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// Conn is a counted connection. It knows whether its session waits for a
// command, when a drain may end it, or is at work, when it may not.
type Conn struct {
	net.Conn
	group    *Group
	client   netip.Addr
	networks []Counted // in which it counts; none: not for any client yet
	proxied  bool      // a proxy hands it on
	trusted  bool      // its client is in a trusted network
	probe    bool      // by which the proxy only looks whether we are there
	ahead    []byte    // read with the proxy's header, and not of it

	id    uint64 // in its group
	since time.Time

	mu      sync.Mutex
	waiting bool // for the peer's next command
	saying  bool // a reply, until the peer has taken it
	awoken  bool
	ended   bool       // by the administrator
	known   netip.Addr // client, once that is known
	who     string
	tls     string

	closing sync.Once
	closed  error
}

// Client is the client's address, also where a proxy hands its connection on.
func (c *Conn) Client() netip.Addr { return c.client }

// Loopback reports whether the client is on this machine. A proxy here is no proof of
// that, nor is its word.
func (c *Conn) Loopback() bool { return !c.proxied && c.client.IsLoopback() }

// Networks are those in which the client counts.
func (c *Conn) Networks() []netip.Prefix {
	all := make([]netip.Prefix, len(c.networks))
	for i, n := range c.networks {
		all[i] = n.Network
	}
	return all
}

// Trusted reports whether the client is in one of the networks that were trusted when it
// connected: what is held against strangers is not held against it. The client that a
// proxy names counts, and is never taken for one on this machine.
func (c *Conn) Trusted() bool { return c.trusted }

// Probe reports whether a proxy has connected for itself, to see that we are there.
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

// AwaitCommand declares that the session waits for its peer's next command and
// sets the read deadline. ErrDraining if the server is shutting down; when that
// begins during the wait, the read fails with a timeout and Draining is true.
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

// Saying declares that the session waits until its peer has taken a reply, and sets the
// write deadline. A reply is no transfer: once a drain has begun the write fails with a
// timeout after a second. Said ends the wait.
func (c *Conn) Saying(timeout time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.saying = true
	if c.awoken {
		timeout = min(timeout, sayingWithin)
	}
	return c.Conn.SetWriteDeadline(time.Now().Add(timeout))
}

// Said declares that the reply was taken, or is given up.
func (c *Conn) Said() {
	c.mu.Lock()
	c.saying = false
	c.mu.Unlock()
}

// Draining reports whether a drain has reached this connection, or Group.End.
func (c *Conn) Draining() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.awoken
}

// Ended reports whether it was Group.End.
func (c *Conn) Ended() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// Know notes who the client is (its mailbox, or what it calls itself) and the version
// and suite of its TLS, for Group.Sessions. What is empty stays as it was.
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

// wake makes the wait for a command fail with a timeout now, or the next
// AwaitCommand if the session is at work.
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

// Close closes the connection once and gives its place free.
func (c *Conn) Close() error {
	c.closing.Do(func() {
		c.closed = c.Conn.Close()
		c.group.release(c)
	})
	return c.closed
}
