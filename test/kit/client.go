// Package kit is what tests of several rooms share: [Client], which sends single lines of
// SMTP and POP3, [Send], which sends a message, and [Await], which waits for a condition.
//
// Two other clients are elsewhere. That of test/proof runs in many goroutines and
// outlives servers that are killed: its failures are values, not the end of a test. That
// of bench/load is a part of what is measured, so it makes as few allocations and system
// calls as possible.
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

// Patience is how long one step may take, also on a busy machine.
const Patience = 60 * time.Second

// Client is a connection on which a test sends and reads line by line, or octet by octet.
// A step that fails, or takes longer than [Patience], ends the test. It may be used on the
// test's goroutine only.
type Client struct {
	net.Conn
	In *bufio.Reader // reads of Conn must go through it
	T  testing.TB
}

// Dial connects to an address. The connection is closed at the end of the test.
func Dial(t testing.TB, address string) *Client {
	t.Helper()
	return dial(t, net.Dialer{}, address)
}

// DialFrom is [Dial] from an IP address of this machine.
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

// On returns a client on a connection that the test has made, and closes.
func On(t testing.TB, conn net.Conn) *Client {
	c := &Client{Conn: conn, In: bufio.NewReader(conn), T: t}
	c.wait()
	return c
}

// wait sets the deadline of the next step. Its error is ignored: on a connection that has
// ended the step itself will fail.
func (c *Client) wait() { _ = c.SetDeadline(time.Now().Add(Patience)) }

// Say sends a text as it is, without adding CRLF.
func (c *Client) Say(text string) {
	c.T.Helper()
	c.wait()
	if _, err := io.WriteString(c.Conn, text); err != nil {
		c.T.Fatalf("saying %.200q: %v", text, err)
	}
}

// Line reads a line and returns it without its end.
func (c *Client) Line() string {
	c.T.Helper()
	c.wait()
	line, err := c.In.ReadString('\n')
	if err != nil {
		c.T.Fatalf("got %q, then %v", line, err)
	}
	return strings.TrimSuffix(line, "\r\n")
}

// Want reads a reply, which must begin with prefix. It returns its line, or the last one
// of an SMTP reply with several.
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

// goesOn reports whether more lines of an SMTP reply follow a line.
func goesOn(line string) bool {
	return len(line) > 3 && line[3] == '-' && strings.Trim(line[:3], "0123456789") == ""
}

// Do sends a command with CRLF and reads the reply, as Want does.
func (c *Client) Do(command, reply string) string {
	c.T.Helper()
	c.Say(command + "\r\n")
	return c.Want(reply)
}

// End waits until the server has ended the connection. It returns what the server sent
// before, and the error of the read unless that was io.EOF.
func (c *Client) End() (said string, err error) {
	c.T.Helper()
	c.wait()
	all, err := io.ReadAll(c.In)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.T.Fatalf("the connection is still open, after %q", all)
	}
	return string(all), err
}

// Secure makes the TLS handshake, without verifying the certificate.
func (c *Client) Secure() {
	c.T.Helper()
	c.wait()
	secure := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true})
	if err := secure.Handshake(); err != nil {
		c.T.Fatal(err)
	}
	c.Conn, c.In = secure, bufio.NewReader(secure)
}
