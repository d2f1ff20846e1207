package smtpd_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"mailsrv/internal/listen"
	"mailsrv/test/kit"
)

// newStrictWorld is a world that trusts nobody.
func newStrictWorld(t *testing.T) *world {
	w := newWorld(t)
	w.group.SetLimits(listen.Limits{})
	return w
}

// from connects from an address of its own.
func (w *world) from(t *testing.T, address string) *client {
	c := &client{kit.DialFrom(t, address, w.addr)}
	c.want("220")
	c.do("EHLO client.example", "250")
	return c
}

// guess asks for unknown recipients, on connections of so many each.
func (w *world) guess(t *testing.T, address string, n, each int) {
	t.Helper()
	for n > 0 {
		c := w.from(t, address)
		c.do("MAIL FROM:<a@example.org>", "250")
		for range min(n, each) {
			c.do(fmt.Sprintf("RCPT TO:<u%d@me.com>", n), "550 5.1.1")
			n--
		}
		c.Close()
	}
}

// Who guesses recipients is slowed, on all its connections together; others are not, and
// what is asked for is answered as ever.
func TestGuesserIsSlowed(t *testing.T) {
	w := newStrictWorld(t)
	begun := time.Now()
	w.guess(t, "127.0.0.2", 100, 50)
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("the first took %v", took)
	}
	begun = time.Now()
	var all sync.WaitGroup
	for range 4 {
		c := w.from(t, "127.0.0.2")
		c.do("MAIL FROM:<a@example.org>", "250")
		c.say("RCPT TO:<nobody@me.com>\r\n")
		all.Go(func() {
			c.Conn.SetReadDeadline(time.Now().Add(kit.Patience))
			if line, _ := c.In.ReadString('\n'); !strings.HasPrefix(line, "550 5.1.1") {
				t.Errorf("got %q", line)
			}
		})
	}
	honest := w.from(t, "127.0.0.3")
	honest.envelope("look@me.com")
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("another network's recipient took %v", took)
	}
	all.Wait()
	if took := time.Since(begun); took < 2900*time.Millisecond {
		t.Errorf("four recipients in %v", took)
	}
	if !strings.Contains(w.log.String(), "client=127.0.0.2/32") {
		t.Error("the log does not tell")
	}
	// Its mail is taken all the same.
	c := w.from(t, "127.0.0.2")
	c.envelope("look@me.com")
	deliverBy(c, "x\r\n")
}

// Lines that are no command and handshakes that fail count as much, and who goes on is
// refused at the connect, with a code that is temporary.
func TestGuesserIsRefused(t *testing.T) {
	w := newStrictWorld(t)
	for i := range 1000 {
		if i%4 == 0 {
			c := w.from(t, "127.0.0.2")
			c.do("STARTTLS", "220")
			c.say("NOOP\r\n")
			c.wantEnd()
			continue
		}
		c := w.from(t, "127.0.0.2")
		c.do("GET / HTTP/1.1", "500")
		c.Close()
		if i == 500 {
			w.from(t, "127.0.0.2").Close() // not yet
		}
	}
	for range 3 {
		c := &client{kit.DialFrom(t, "127.0.0.2", w.addr)}
		c.want("421 4.7.0")
		c.wantEnd()
	}
	w.from(t, "127.0.0.3").Close()
	if n := strings.Count(w.log.String(), `msg="connect refused"`); n != 1 {
		t.Errorf("%d lines of the log tell of refused connections", n)
	}
	w.group.SetLimits(listen.Limits{Trusted: loopback})
	w.from(t, "127.0.0.2").envelope("look@me.com")
}

// Trusted networks are exempt; a client that a proxy says is on this machine is not.
func TestTrustedNetworksMayGuess(t *testing.T) {
	w := newWorld(t)
	begun := time.Now()
	w.guess(t, "127.0.0.2", 400, 50)
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	proxied := listen.Limits{Trusted: loopback, Proxies: loopback}
	w.group.SetLimits(proxied)
	for range 1000 {
		c := &client{kit.Dial(t, w.addr)}
		c.say("PROXY TCP4 127.0.0.1 127.0.0.1 1 25\r\n")
		c.want("220")
		c.do("GET / HTTP/1.1", "500")
		c.Close()
	}
	c := &client{kit.Dial(t, w.addr)}
	c.say("PROXY TCP4 127.0.0.1 127.0.0.1 1 25\r\n")
	c.want("421 4.7.0")
	c.wantEnd()
}

// A RCPT that is held back does not hold up the end.
func TestShutdownEndsTheWaitOfGuessers(t *testing.T) {
	w := newStrictWorld(t)
	w.guess(t, "127.0.0.2", 100, 50)
	var waiting []*client
	for range 30 {
		c := w.from(t, "127.0.0.2")
		c.do("MAIL FROM:<a@example.org>", "250")
		c.say("RCPT TO:<nobody@me.com>\r\n")
		waiting = append(waiting, c)
	}
	w.atWork(len(waiting) - 1) // one was answered
	begun := time.Now()
	w.drained()
	if took := time.Since(begun); took > 4*time.Second {
		t.Errorf("it took %v", took)
	}
	for _, c := range waiting {
		if said, _ := io.ReadAll(c.In); !strings.Contains(string(said), "421 4.3.2") {
			t.Errorf("got %q", said)
		}
	}
	if _, err := net.Dial("tcp", w.addr); err == nil {
		t.Error("the server still takes connections")
	}
}
