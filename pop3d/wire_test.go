package pop3d_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"mailsrv/pop3d"
)

// pipes is a listener of connections in memory, on which one Read returns what
// one Write sent.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	open   []net.Conn // of dialFrom
}

func listenPipes() *pipes {
	return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.conns <- server
	return client
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	select {
	case <-p.closed:
	default:
		close(p.closed)
	}
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// connectPipe returns a connection in memory, past the greeting.
func (s *setup) connectPipe(t testing.TB) net.Conn {
	t.Helper()
	p := listenPipes()
	go s.Serve(p, false)
	c := p.dial()
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	readOnce(t, c)
	return c
}

func readOnce(t testing.TB, c net.Conn) string {
	t.Helper()
	b := make([]byte, 1<<20)
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

func always(c *pop3d.Config) { c.Settings.PlaintextLogin = pop3d.PlaintextAlways }

func TestRepliesToPipelinedCommandsAreOneWrite(t *testing.T) {
	c := start(t, always).connectPipe(t)
	c.Write([]byte("USER alice@me.com\r\nPASS secret\r\nSTAT\r\nLIST\r\nRETR 1\r\nRETR 2\r\nNOOP\r\n"))
	got := readOnce(t, c)
	if n := strings.Count(got, "+OK"); n != 7 || !strings.HasSuffix(got, "\r\n.\r\n+OK\r\n") {
		t.Errorf("the first write is %q", got)
	}
}

func TestSmallMessageIsOneWrite(t *testing.T) {
	s := start(t, always)
	text := "Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 78)+"\r\n", 200)
	s.store.put(bob, message{uidl: "x", text: text})
	c := s.connectPipe(t)
	c.Write([]byte("USER bob@me.com\r\nPASS secret\r\n"))
	readOnce(t, c)
	c.Write([]byte("RETR 1\r\n"))
	if got, want := readOnce(t, c), "+OK 16014 octets\r\n"+text+".\r\n"; got != want {
		t.Errorf("the first write has %d octets, want %d", len(got), len(want))
	}
}

// A client that takes octets now and then is not idle, however long it needs
// for one write of the server's.
func TestSlowReaderIsNotIdle(t *testing.T) {
	const idle = 500 * time.Millisecond
	s := start(t, func(c *pop3d.Config) {
		always(c)
		c.Settings.IdleTimeout = idle
	})
	s.store.put(bob, message{uidl: "x", text: strings.Repeat("x", 100<<10) + "\r\n"})
	c := s.connectPipe(t)
	c.Write([]byte("USER bob@me.com\r\nPASS secret\r\n"))
	readOnce(t, c)
	c.Write([]byte("RETR 1\r\n"))
	var got strings.Builder
	b := make([]byte, 4<<10)
	for begun := time.Now(); !strings.HasSuffix(got.String(), "\r\n.\r\n"); {
		n, err := c.Read(b)
		if err != nil {
			t.Fatalf("ended after %d octets and %v: %v", got.Len(), time.Since(begun), err)
		}
		got.Write(b[:n])
		<-time.After(idle / 10)
	}
}
