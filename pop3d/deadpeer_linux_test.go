package pop3d_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mailsrv/internal/listen"
	"mailsrv/pop3d"
	"mailsrv/test/asroot"
)

// accepted is a listener that shows the connections that it accepts.
type accepted struct {
	net.Listener
	conns chan *net.TCPConn
}

func (a accepted) Accept() (net.Conn, error) {
	c, err := a.Listener.Accept()
	if err == nil {
		a.conns <- c.(*net.TCPConn)
	}
	return c, err
}

// shown runs the server on one listener more and returns a client there, with
// the server's end of its connection.
func (s *setup) shown(t *testing.T) (*client, *net.TCPConn) {
	t.Helper()
	l, err := listen.TCP(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := accepted{l, make(chan *net.TCPConn, 1)}
	go s.Serve(a, false)
	s.addr = l.Addr().String()
	c := s.connect(t) // the greeting says that the server has set the options
	return c, <-a.conns
}

// option reads or sets an option of a connection.
func option(t *testing.T, c *net.TCPConn, use func(fd int) error) error {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var used error
	if err := raw.Control(func(fd uintptr) { used = use(int(fd)) }); err != nil {
		t.Fatal(err)
	}
	return used
}

func TestKeepAlive(t *testing.T) {
	s := start(t, nil)
	_, conn := s.shown(t)
	for _, o := range []struct {
		name              string
		level, opt, value int
	}{
		{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 30},
		{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 30},
		{"TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 3},
	} {
		err := option(t, conn, func(fd int) error {
			value, err := unix.GetsockoptInt(fd, o.level, o.opt)
			if err == nil && value != o.value {
				t.Errorf("%s is %d, want %d", o.name, value, o.value)
			}
			return err
		})
		if err != nil {
			t.Error(o.name, err)
		}
	}
}

// A peer that vanished without a word, as when its power failed, is found by
// keepalive: its maildrop is free again, and nothing is deleted.
func TestVanishedPeerFreesItsMaildrop(t *testing.T) {
	if asroot.Rerun(t) { // TCP_REPAIR is root's
		return
	}
	s := start(t, func(c *pop3d.Config) { c.Settings.LockTakeoverAfter = time.Hour })
	other := s.addr
	c, conn := s.shown(t)
	s.addr = other
	c.send("USER alice@me.com\r\nPASS secret\r\nDELE 1\r\n")
	c.want("+OK")
	c.want("+OK")
	c.want("+OK")
	err := option(t, conn, func(fd int) error { // half a minute is long for a test
		return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 1)
	})
	if err != nil {
		t.Fatal(err)
	}
	// What is on its way would be sent again, and find the peer gone before
	// keepalive does.
	eventually(t, "all is acknowledged", func() (all bool) {
		option(t, conn, func(fd int) error {
			info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
			all = err == nil && info.Unacked == 0
			return err
		})
		return all
	})
	// A connection under repair is closed without a word to its peer.
	err = option(t, c.Conn.(*net.TCPConn), func(fd int) error {
		return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR, 1)
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	eventually(t, "the maildrop is free", func() bool {
		again, line := s.tryLogin(t, "alice@me.com")
		if line != "+OK maildrop has 3 messages (103 octets)" {
			time.Sleep(20 * time.Millisecond)
			return false
		}
		again.Close()
		return true
	})
	eventually(t, "the reason is logged", func() bool {
		return strings.Contains(s.log.String(), `mailbox=alice@me.com reason="connection lost"`)
	})
}
