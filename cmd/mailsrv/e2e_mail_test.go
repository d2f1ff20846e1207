package main_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"
)

// letter is a message with CRLFs; its subject tells it from others.
func letter(subject, body string) string {
	return "From: you@example.org\r\nTo: look@me.com\r\nSubject: " + subject + "\r\n\r\n" + body
}

var trace = regexp.MustCompile(`\AReturn-Path: <[^\r\n]*>\r\nDelivered-To: [^\r\n]+\r\nReceived: [^\r\n]+(\r\n[ \t][^\r\n]*)*\r\n`)

// content is a stored message without the trace fields of its delivery here,
// which it must have.
func content(t *testing.T, message string) string {
	t.Helper()
	fields := trace.FindString(message)
	if fields == "" {
		t.Fatalf("no trace fields:\n%q", shorten(message))
	}
	return message[len(fields):]
}

// same compares two messages and shows where they part.
func same(t *testing.T, what, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	at := 0
	for at < len(got) && at < len(want) && got[at] == want[at] {
		at++
	}
	near := func(text string) string { return text[max(0, at-20):min(len(text), at+40)] }
	t.Errorf("%s: %d octets, want %d; from octet %d on\ngot  %q\nwant %q", what, len(got), len(want), at, near(got), near(want))
}

// dialogue is a connection on which a test speaks a protocol itself, where it
// must stop in the middle as no mail program does.
type dialogue struct {
	t *testing.T
	net.Conn
	in *bufio.Reader
}

// dial connects from a client address and reads the greeting.
func dial(t *testing.T, from, to string) (d *dialogue, greeting string) {
	t.Helper()
	dialer := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := dialer.Dial("tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	d = &dialogue{t: t, Conn: c, in: bufio.NewReader(c)}
	return d, d.line()
}

func (d *dialogue) line() string {
	d.t.Helper()
	line, err := d.in.ReadString('\n')
	if err != nil {
		d.t.Fatalf("%q, then: %v", line, err)
	}
	return strings.TrimSuffix(line, "\r\n")
}

// say sends a command and expects a reply, which it returns; of several lines
// of SMTP the last.
func (d *dialogue) say(command, reply string) string {
	d.t.Helper()
	fmt.Fprintf(d, "%s\r\n", command)
	line := d.line()
	for len(line) > 3 && line[3] == '-' && line[0] != '-' {
		line = d.line()
	}
	if !strings.HasPrefix(line, reply) {
		d.t.Fatalf("%s: %s, want %s", command, line, reply)
	}
	return line
}

// ends expects the server to close the connection, whatever it says before.
func (d *dialogue) ends() string {
	d.t.Helper()
	rest, err := io.ReadAll(d.in)
	if err != nil {
		d.t.Fatalf("%q, then: %v", rest, err)
	}
	return string(rest)
}
