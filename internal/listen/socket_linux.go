package listen

import (
	"errors"
	"net"
	"os"
	"syscall"
	"unsafe"
)

// listenConfig turns keep-alive probes on for the listening socket. Its connections inherit
// them, which saves four system calls for each.
func listenConfig() *net.ListenConfig {
	return &net.ListenConfig{KeepAlive: -1, Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		controlled := c.Control(func(fd uintptr) { err = keepAlive(int(fd)) })
		return errors.Join(controlled, err)
	}}
}

// keepAlive makes the kernel probe a silent peer after 30 s, three times, 30 s apart.
func keepAlive(fd int) error {
	for _, o := range []struct{ level, option, value int }{
		{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
		{syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, 30},
		{syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, 30},
		{syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, 3},
	} {
		if err := syscall.SetsockoptInt(fd, o.level, o.option, o.value); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	return nil
}

// CloseFollows declares that the connection is closed after the next write. Both leave in
// one packet, which saves each side a packet and a wake-up.
func (c *Conn) CloseFollows() {
	c.control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_CORK, 1) })
}

// Acknowledge sends the TCP acknowledgement of what has been received at once. The kernel
// would wait 40 ms for a reply to carry it, and a client with Nagle's algorithm on does
// not send its next command before.
func (c *Conn) Acknowledge() {
	c.control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 1) })
}

// Pending returns how many of the octets written the client has not acknowledged yet: the
// kernel buffers some MiB for a slow line. It is safe for concurrent use.
func (c *Conn) Pending() int32 {
	var octets int32
	c.control(func(fd uintptr) {
		syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCOUTQ, uintptr(unsafe.Pointer(&octets)))
	})
	return octets
}

// HungUp reports whether the peer has closed its side, even if octets before that have not
// been read yet, or is known to be gone, or whether the connection is closed here. It is
// safe for concurrent use.
func (c *Conn) HungUp() bool {
	const hangUp = 0x2000 // POLLRDHUP; errors are reported unasked
	asked := struct {
		fd            int32
		events, found int16
	}{events: hangUp}
	var now syscall.Timespec // no wait
	err := c.control(func(fd uintptr) {
		asked.fd = int32(fd)
		syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&asked)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
	})
	return asked.found != 0 || err != nil // closed here
}

// control calls f with the socket, if there is one. An error means that it is closed.
func (c *Conn) control(f func(fd uintptr)) error {
	tcp, ok := c.Conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(f)
}
