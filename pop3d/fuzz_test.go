package pop3d_test

import (
	"bufio"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"mailsrv/internal/logs"
	"mailsrv/pop3d"
)

// wellFormed checks the replies of a session: single lines, and multi-line
// texts up to their final dot. Only a text may be cut off, by the end.
func wellFormed(t *testing.T, replies string) {
	t.Helper()
	in := bufio.NewReader(strings.NewReader(replies))
	inText, accepted := false, false
	for {
		line, err := in.ReadString('\n')
		if err == io.EOF {
			if line != "" && !inText {
				t.Fatalf("cut off at %q", line)
			}
			return
		}
		line, ok := strings.CutSuffix(line, "\r\n")
		status := strings.HasPrefix(line, "+OK") || strings.HasPrefix(line, "-ERR ") || strings.HasPrefix(line, "+ ")
		switch {
		case !ok:
			t.Fatalf("%q ends in a bare LF", line)
		case line == ".":
			if !inText && !accepted {
				t.Fatal("a dot without a text")
			}
			inText, accepted = false, false
		case status:
			if len(line) > 510 { // RFC 1939 section 3
				t.Fatalf("a reply of %d octets", len(line))
			}
			inText, accepted = false, strings.HasPrefix(line, "+OK")
		default:
			if !inText && !accepted {
				t.Fatalf("%q belongs to no reply", line)
			}
			inText = true // no text of the tests begins a line like a reply
		}
	}
}

// converse plays the client's side of a session and returns the server's.
func converse(t *testing.T, said string) string {
	s := start(t, func(c *pop3d.Config) {
		always(c)
		c.TLS = nil // the answer to a handshake is no reply
	})
	p := listenPipes()
	go s.Serve(p, false)
	c := p.dial()
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	heard := make(chan string)
	go func() {
		all, err := io.ReadAll(c)
		if os.IsTimeout(err) {
			all = append(all, "(timeout)"...)
		}
		heard <- string(all)
	}()
	// A server that has heard enough closes: the rest is not written then.
	io.WriteString(c, said)
	// AUTH LOGIN may take two of them for its responses.
	io.WriteString(c, "\r\nQUIT\r\nQUIT\r\nQUIT\r\n")
	replies := <-heard
	if strings.HasSuffix(replies, "(timeout)") {
		t.Fatalf("the session did not end: %q", replies)
	}
	for _, line := range s.log.lines(logs.Failed) {
		if strings.Contains(line, "panic") {
			t.Fatal(line)
		}
	}
	wellFormed(t, replies)
	return replies
}

var commands = []string{
	"CAPA", "STAT", "LIST", "LIST 1", "UIDL", "UIDL 2", "RETR 1", "RETR 99999999999999999999", "TOP 1 1", "TOP 2 -1",
	"DELE 1", "DELE 1\r\nRETR 1\r\nRSET", "NOOP", "QUIT", "AUTH", "AUTH PLAIN =", "AUTH LOGIN\r\n*", "AUTH LOGIN", "AUTH PLAIN\r\n$",
	"STLS", "UTF8", "USER alice@me.com\r\nPASS secret\r\nRETR 3", "\x00\xff", strings.Repeat("x", 3000), "QUIT\nSTAT",
}

func FuzzSessionAuthorization(f *testing.F) {
	for _, c := range commands {
		f.Add(c)
	}
	f.Fuzz(func(t *testing.T, said string) {
		converse(t, said)
	})
}

func FuzzSessionTransaction(f *testing.F) {
	for _, c := range commands {
		f.Add(c)
	}
	f.Fuzz(func(t *testing.T, said string) {
		converse(t, "USER alice@me.com\r\nPASS secret\r\n"+said)
	})
}
