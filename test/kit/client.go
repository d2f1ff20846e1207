// Package kit is what tests of several rooms share: a client of SMTP and POP3 that is
// led by hand, a message handed in, a condition waited for.
//
// Two clients are not here. That of test/proof runs in many goroutines, outlives
// servers that are killed, and knows the moment of each octet: its failures are values,
// not the end of a test. That of bench/load is measured itself, and so takes no
// allocation and no system call more than it must.
package kit

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// Patience is how long one step may take on a machine that has more to do.
const Patience = 60 * time.Second

// Client is one connection that a test leads by hand, octet by octet where it must.
// A step that fails, or takes longer than Patience, ends the test. Not for goroutines
// other than the test's.
type Client struct {
	net.Conn
	In *bufio.Reader // all reading goes through it
	T  testing.TB
}

// Dial connects. The end of the test closes the connection.
func Dial(t testing.TB, address string) *Client {
	t.Helper()
	return dial(t, net.Dialer{}, address)
}

// DialFrom connects from an IP address of this machine.
func DialFrom(t testing.TB, from, address string) *Client {
	t.Helper()
	return dial(t, net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}, address)
}

func dial(t testing.TB, d net.Dialer, address string) *Client {
	t.Helper()
	d.Timeout = Patience
	conn, err := d.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return On(t, conn)
}

// On leads a connection that the test has made, and will close.
func On(t testing.TB, conn net.Conn) *Client {
	c := &Client{Conn: conn, In: bufio.NewReader(conn), T: t}
	c.wait()
	return c
}

// wait gives the next step its time. It fails on a connection that has ended, of
// which the step itself will tell.
func (c *Client) wait() { _ = c.SetDeadline(time.Now().Add(Patience)) }

// Say sends a text as it is.
func (c *Client) Say(text string) {
	c.T.Helper()
	c.wait()
	if _, err := io.WriteString(c.Conn, text); err != nil {
		c.T.Fatalf("saying %.200q: %v", text, err)
	}
}

// Line reads a line, and returns it without its end.
func (c *Client) Line() string {
	c.T.Helper()
	c.wait()
	line, err := c.In.ReadString('\n')
	if err != nil {
		c.T.Fatalf("got %q, then %v", line, err)
	}
	return strings.TrimSuffix(line, "\r\n")
}

// Want reads a reply, of several lines of SMTP the last, and returns it. It must begin
// so.
func (c *Client) Want(prefix string) string {
	c.T.Helper()
	line := c.Line()
	for goesOn(line) {
		line = c.Line()
	}
	if !strings.HasPrefix(line, prefix) {
		c.T.Fatalf("got %q, want %s", line, prefix)
	}
	return line
}

// goesOn reports whether a line of a reply of SMTP has others behind it.
func goesOn(line string) bool {
	return len(line) > 3 && line[3] == '-' && strings.Trim(line[:3], "0123456789") == ""
}

// Do sends a command and wants a reply.
func (c *Client) Do(command, reply string) string {
	c.T.Helper()
	c.Say(command + "\r\n")
	return c.Want(reply)
}

// End waits until the server has ended the connection, and returns what it said
// before and, but for an end in good order, how it ended.
func (c *Client) End() (said string, err error) {
	c.T.Helper()
	c.wait()
	all, err := io.ReadAll(c.In)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.T.Fatalf("the connection is still open, after %q", all)
	}
	return string(all), err
}

// Secure makes the TLS handshake; the certificate is not looked at.
func (c *Client) Secure() {
	c.T.Helper()
	c.wait()
	secure := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true})
	if err := secure.Handshake(); err != nil {
		c.T.Fatal(err)
	}
	c.Conn, c.In = secure, bufio.NewReader(secure)
}
