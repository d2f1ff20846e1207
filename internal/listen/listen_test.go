package listen_test

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"mailsrv/internal/listen"
	"mailsrv/internal/logs"
)

const (
	busy    = "421 too many connections\r\n"
	timeout = 10 * time.Second // nothing here takes so long, unless it is broken
)

// server accepts the connections of one group and hands them over.
type server struct {
	*listen.Group
	addr     string
	accepted chan *listen.Conn // closed at the end
	stopped  chan error        // what Serve returned at the end
}

func newServer(t *testing.T, limits listen.Limits, logger *slog.Logger) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{
		Group:    listen.NewGroup("smtp", busy, limits, logger),
		addr:     l.Addr().String(),
		accepted: make(chan *listen.Conn, 100),
		stopped:  make(chan error, 1),
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		s.stopped <- s.Serve(l, func(c *listen.Conn) { s.accepted <- c })
		s.Wait()
		close(s.accepted)
	}()
	return s
}

// dial connects from a loopback address.
func (s *server) dial(t *testing.T, from string) net.Conn {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: timeout}
	c, err := dialer.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(timeout))
	return c
}

// admitted connects and returns both ends.
func (s *server) admitted(t *testing.T, from string) (client net.Conn, conn *listen.Conn) {
	t.Helper()
	client = s.dial(t, from)
	select {
	case conn = <-s.accepted:
		t.Cleanup(func() { conn.Close() })
		return client, conn
	case <-time.After(timeout):
		t.Fatalf("a connection from %s was not accepted", from)
		return nil, nil
	}
}

// refused connects and checks that the connection ends with the busy line.
func (s *server) refused(t *testing.T, from string) {
	t.Helper()
	text, err := io.ReadAll(s.dial(t, from))
	if string(text) != busy || err != nil {
		t.Errorf("from %s: heard %q, %v", from, text, err)
	}
}

func TestLimitPerClient(t *testing.T) {
	var log logs.Recorder
	s := newServer(t, listen.Limits{PerClient: 2}, slog.New(slog.NewTextHandler(&log, nil)))
	_, first := s.admitted(t, "127.0.0.2")
	if got := first.Client(); got != netip.MustParseAddr("127.0.0.2") {
		t.Errorf("client %v", got)
	}
	s.admitted(t, "127.0.0.2")
	s.refused(t, "127.0.0.2")
	s.admitted(t, "127.0.0.3")
	if got := s.Open(); got != 3 {
		t.Errorf("%d are open", got)
	}
	first.Close()
	first.Close() // counts once
	s.admitted(t, "127.0.0.2")
	s.refused(t, "127.0.0.2")
	for _, want := range []string{logs.ConnectRefused, "client=127.0.0.2", "proto=smtp", "from this client"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log without %q: %s", want, log.String())
		}
	}
}

func TestLimitInAll(t *testing.T) {
	s := newServer(t, listen.Limits{Connections: 2, PerClient: 2}, logs.Discard())
	_, first := s.admitted(t, "127.0.0.2")
	s.admitted(t, "127.0.0.3")
	s.refused(t, "127.0.0.4")
	first.Close()
	s.admitted(t, "127.0.0.4")
	s.refused(t, "127.0.0.2")
}

func TestSetLimits(t *testing.T) {
	s := newServer(t, listen.Limits{}, logs.Discard())
	s.admitted(t, "127.0.0.2")
	s.admitted(t, "127.0.0.2")
	s.SetLimits(listen.Limits{PerClient: 1})
	if s.Open() != 2 {
		t.Error("a lowered limit closed connections")
	}
	s.refused(t, "127.0.0.2")
	s.admitted(t, "127.0.0.3")
}

func TestNetwork(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1":          "192.0.2.1/32",
		"::ffff:192.0.2.1":   "192.0.2.1/32",
		"2001:db8:1:2:3::4":  "2001:db8:1:2::/64",
		"fe80::1%eth0":       "fe80::/64",
		"2001:db8:1:2:ff::1": "2001:db8:1:2::/64",
	} {
		if got := listen.Network(netip.MustParseAddr(addr)); got.String() != want {
			t.Errorf("%s: %v", addr, got)
		}
	}
}

func TestNetworks(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1":         "[{192.0.2.1/32 1}]",
		"::ffff:192.0.2.1":  "[{192.0.2.1/32 1}]",
		"2001:db8:1:2:3::4": "[{2001:db8:1:2::/64 1} {2001:db8:1::/48 4}]",
		"fe80::1%eth0":      "[{fe80::/64 1} {fe80::/48 4}]",
		"::1":               "[{::/64 1} {::/48 4}]",
	} {
		if got := fmt.Sprint(listen.Networks(netip.MustParseAddr(addr))); got != want {
			t.Errorf("%s: %v", addr, got)
		}
	}
}

// A /48 is no 65,536 clients.
func TestLimitPerSite(t *testing.T) {
	const perClient = 3
	s := newServer(t, listen.Limits{PerClient: perClient, Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}}, logs.Discard())
	from := func(client string) (net.Conn, *listen.Conn) {
		t.Helper()
		c := s.dial(t, "127.0.0.2")
		fmt.Fprintf(c, "PROXY TCP6 %s 2001:db8::1 4000 25\r\n", client)
		in := make(chan []byte, 1)
		go func() {
			text, _ := io.ReadAll(c)
			in <- text
		}()
		select {
		case conn := <-s.accepted:
			t.Cleanup(func() { conn.Close() })
			return c, conn
		case text := <-in:
			if string(text) != busy {
				t.Errorf("%s heard %q", client, text)
			}
		case <-time.After(timeout):
			t.Error("neither accepted nor refused")
		}
		return c, nil
	}
	var first *listen.Conn
	for i := range 4 * perClient {
		client := fmt.Sprintf("2001:db8:7:%x::%x", i%8, i)
		_, conn := from(client)
		if conn == nil {
			t.Fatalf("connection %d, from %s, was refused", i, client)
		}
		first = cmp.Or(first, conn)
	}
	if _, conn := from("2001:db8:7:99::1"); conn != nil {
		t.Error("a further /64 of the site came in")
	}
	if _, conn := from("2001:db8:8::1"); conn == nil {
		t.Error("another site was refused")
	}
	first.Close()
	if _, conn := from("2001:db8:7:99::1"); conn == nil {
		t.Error("a place that came free is not given")
	}
	for _, want := range []bool{true, true, true, false} {
		if _, conn := from("2001:db8:9::1"); (conn != nil) != want {
			t.Errorf("of one /64: %v", conn != nil)
		}
	}
}

func TestAwaitCommandTimesOut(t *testing.T) {
	s := newServer(t, listen.Limits{}, logs.Discard())
	_, conn := s.admitted(t, "127.0.0.1")
	if err := conn.AwaitCommand(time.Millisecond); err != nil {
		t.Fatal(err)
	}
	_, err := conn.Read(make([]byte, 1))
	if e, ok := err.(net.Error); !ok || !e.Timeout() {
		t.Errorf("read: %v", err)
	}
	if conn.Draining() {
		t.Error("a timeout is taken for a drain")
	}
}

// drain begins to drain and returns once that has reached conn.
func drain(t *testing.T, ctx context.Context, s *server, conn *listen.Conn) (result chan error) {
	t.Helper()
	result = make(chan error, 1)
	go func() { result <- s.Drain(ctx) }()
	for deadline := time.Now().Add(timeout); !conn.Draining(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the drain does not reach the connection")
		}
	}
	return result
}

func finished(t *testing.T, result chan error) error {
	t.Helper()
	select {
	case err := <-result:
		return err
	case <-time.After(timeout):
		t.Fatal("does not come to an end")
		return nil
	}
}

// A session that waits for a command is woken and may say goodbye.
func TestDrainWakesWhoWaits(t *testing.T) {
	s := newServer(t, listen.Limits{}, logs.Discard())
	client, conn := s.admitted(t, "127.0.0.1")
	if err := conn.AwaitCommand(time.Hour); err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 1)
	go func() {
		_, err := conn.Read(make([]byte, 1))
		read <- err
	}()
	result := drain(t, t.Context(), s, conn)
	if e, ok := finished(t, read).(net.Error); !ok || !e.Timeout() {
		t.Errorf("read: %v", e)
	}
	if err := conn.AwaitCommand(time.Hour); !errors.Is(err, listen.ErrDraining) {
		t.Errorf("the next command: %v", err)
	}
	if _, err := conn.Write([]byte("421 bye\r\n")); err != nil {
		t.Error(err)
	}
	conn.Close()
	if err := finished(t, result); err != nil {
		t.Errorf("drain: %v", err)
	}
	if line, err := bufio.NewReader(client).ReadString('\n'); line != "421 bye\r\n" {
		t.Errorf("the client heard %q, %v", line, err)
	}
	if err := finished(t, s.stopped); err != nil {
		t.Errorf("the listener: %v", err)
	}
	if c, err := net.Dial("tcp", s.addr); err == nil {
		c.Close()
		t.Error("still accepts")
	}
}

// A session at work finishes what it does, and is told at its next command.
func TestDrainLetsWorkFinish(t *testing.T) {
	s := newServer(t, listen.Limits{}, logs.Discard())
	client, conn := s.admitted(t, "127.0.0.1")
	conn.AwaitCommand(time.Hour)
	conn.Working()
	result := drain(t, t.Context(), s, conn)
	if err := conn.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		t.Fatal(err)
	}
	client.Write([]byte("content"))
	if _, err := io.ReadFull(conn, make([]byte, len("content"))); err != nil {
		t.Errorf("reading on: %v", err)
	}
	select {
	case err := <-result:
		t.Fatalf("the drain did not wait: %v", err)
	default:
	}
	if err := conn.AwaitCommand(time.Hour); !errors.Is(err, listen.ErrDraining) {
		t.Errorf("the next command: %v", err)
	}
	conn.Close()
	if err := finished(t, result); err != nil {
		t.Errorf("drain: %v", err)
	}
}

func TestDrainClosesTheRest(t *testing.T) {
	s := newServer(t, listen.Limits{}, logs.Discard())
	client, conn := s.admitted(t, "127.0.0.1")
	conn.Working()
	ctx, cancel := context.WithCancel(t.Context())
	result := drain(t, ctx, s, conn)
	cancel()
	if err := finished(t, result); !errors.Is(err, context.Canceled) {
		t.Errorf("drain: %v", err)
	}
	if _, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the client: %v", err)
	}
	if s.Open() != 0 {
		t.Errorf("%d are open", s.Open())
	}
	if err := s.Drain(t.Context()); err != nil {
		t.Errorf("a second drain: %v", err)
	}
}

func TestDrainWithoutConnections(t *testing.T) {
	s := newServer(t, listen.Limits{}, logs.Discard())
	for range 2 {
		if err := s.Drain(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// Connections that come, go and are counted while the server drains.
func TestDrainUnderLoad(t *testing.T) {
	s := newServer(t, listen.Limits{Connections: 50, PerClient: 20}, logs.Discard())
	var sessions sync.WaitGroup
	sessions.Go(func() {
		for c := range s.accepted {
			sessions.Go(func() {
				defer c.Close()
				for c.AwaitCommand(timeout) == nil {
					if _, err := c.Read(make([]byte, 1)); err != nil {
						return
					}
					c.Working()
				}
			})
		}
	})
	var clients sync.WaitGroup
	for i := range 20 {
		clients.Go(func() {
			for {
				c, err := net.DialTimeout("tcp", s.addr, timeout)
				if err != nil {
					return // it has stopped
				}
				c.SetDeadline(time.Now().Add(timeout))
				c.Write([]byte("x"))
				if i%2 == 0 { // half of them stay until they are sent away
					io.Copy(io.Discard, c)
				}
				c.Close()
			}
		})
	}
	for deadline := time.Now().Add(timeout); s.Open() < 5 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	if err := s.Drain(ctx); err != nil {
		t.Errorf("drain: %v", err)
	}
	clients.Wait()
	sessions.Wait()
	if s.Open() != 0 {
		t.Errorf("%d are open", s.Open())
	}
}

// A hang-up is seen behind what has not been read yet.
func TestHungUp(t *testing.T) {
	s := newServer(t, listen.Limits{}, logs.Discard())
	for _, says := range []string{"", "QUIT\r\n"} {
		for what, leave := range map[string]func(c *net.TCPConn) error{
			"closes": (*net.TCPConn).Close, "closes its side": (*net.TCPConn).CloseWrite,
			"resets": func(c *net.TCPConn) error { c.SetLinger(0); return c.Close() },
		} {
			client, conn := s.admitted(t, "127.0.0.1")
			if _, err := io.WriteString(client, says); err != nil {
				t.Fatal(err)
			}
			if conn.HungUp() {
				t.Errorf("%q: a client that is there has hung up", says)
			}
			if err := leave(client.(*net.TCPConn)); err != nil {
				t.Fatal(err)
			}
			for end := time.Now().Add(timeout); !conn.HungUp(); time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("%q: one that %s is not seen", says, what)
				}
			}
			conn.Close()
			if !conn.HungUp() {
				t.Error("a connection that we closed is still there")
			}
		}
	}
}

// A session that is at work when it is ended may finish, and then is told.
func TestEndOfASession(t *testing.T) {
	s := newServer(t, listen.Limits{}, logs.Discard())
	client, conn := s.admitted(t, "127.0.0.1")
	_, other := s.admitted(t, "127.0.0.1")
	conn.Know("look@me.com", "")
	conn.Know("", "TLS1.3")
	all := s.Sessions()
	if len(all) != 2 || all[0].Who != "look@me.com" || all[0].TLS != "TLS1.3" || all[0].ID == all[1].ID || all[0].Client != conn.Client() {
		t.Fatalf("got %+v", all)
	}
	if s.End(all[1].ID + 1) {
		t.Error("an unknown session was ended")
	}
	conn.Working()
	if !s.End(all[0].ID) {
		t.Error("the session is not found")
	}
	if _, err := conn.Write([]byte("rest\r\n")); err != nil {
		t.Error(err)
	}
	if err := conn.AwaitCommand(time.Hour); !errors.Is(err, listen.ErrDraining) || !conn.Ended() {
		t.Errorf("the next command: %v", err)
	}
	if other.Draining() || other.Ended() {
		t.Error("another session was ended too")
	}
	conn.Close()
	if line, err := bufio.NewReader(client).ReadString('\n'); line != "rest\r\n" {
		t.Errorf("heard %q, %v", line, err)
	}
}
