package listen

import (
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// Conn is a counted connection. It knows whether its session waits for a
// command, when a drain may end it, or is at work, when it may not.
type Conn struct {
	net.Conn
	group   *Group
	client  netip.Addr
	network netip.Prefix

	mu      sync.Mutex
	waiting bool
	awoken  bool

	closing sync.Once
	closed  error
}

// Client is the peer's address.
func (c *Conn) Client() netip.Addr { return c.client }

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

// Draining reports whether a drain has reached this connection.
func (c *Conn) Draining() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.awoken
}

// wake makes the wait for a command fail with a timeout now, or the next
// AwaitCommand if the session is at work.
func (c *Conn) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.awoken = true
	if c.waiting {
		c.Conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// CloseFollows says that the connection is closed after what is written next. Both
// leave in one packet, which saves each side one and a wake-up.
func (c *Conn) CloseFollows() {
	c.control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_CORK, 1) })
}

// Pending is how many of the octets written the client has not got yet: the kernel
// takes some MiB from us before a slow line carries them. It may be called beside all
// else.
func (c *Conn) Pending() int32 {
	var octets int32
	c.control(func(fd uintptr) {
		syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCOUTQ, uintptr(unsafe.Pointer(&octets)))
	})
	return octets
}

// HungUp reports whether the peer has sent its end, also behind what has not been read
// yet, or is known to be gone. It may be called beside all else.
func (c *Conn) HungUp() bool {
	const hangUp = 0x2000 // POLLRDHUP; errors are told without being asked for
	asked := struct {
		fd            int32
		events, found int16
	}{events: hangUp}
	var now syscall.Timespec // no wait
	c.control(func(fd uintptr) {
		asked.fd = int32(fd)
		syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&asked)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
	})
	return asked.found != 0
}

// control gives f the socket, if there is one and it is open.
func (c *Conn) control(f func(fd uintptr)) {
	tcp, ok := c.Conn.(*net.TCPConn)
	if !ok {
		return
	}
	if raw, err := tcp.SyscallConn(); err == nil {
		raw.Control(f)
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
