package listen_test

import (
	"context"
	"errors"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"mailsrv/internal/listen"
)

// Keepalive, the other option of the listening socket, is asked for where a connection
// has inherited it: pop3d's TestKeepAlive.
func TestPlainTCP(t *testing.T) {
	l, err := listen.TCP(context.Background(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var protocol int
	var refused error
	err = raw.Control(func(fd uintptr) { protocol, refused = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PROTOCOL) })
	if err = errors.Join(err, refused); err != nil || protocol != unix.IPPROTO_TCP {
		t.Errorf("protocol %d, want %d (%v)", protocol, unix.IPPROTO_TCP, err)
	}
}
