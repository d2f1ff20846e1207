package library

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mailsrv/internal/listen"
	"mailsrv/internal/logs"
	"mailsrv/internal/refusal"
	"mailsrv/internal/wire"
)

// plainDots is what a dotReader does, written the slow way: it returns the
// content and what follows the end.
func plainDots(wire string) (content, rest string, ended bool) {
	var b strings.Builder
	lineStart := true
	for i := 0; i < len(wire); i++ {
		if lineStart && wire[i] == '.' {
			if strings.HasPrefix(wire[i:], ".\r\n") {
				return b.String(), wire[i+3:], true
			}
			lineStart = false
			continue
		}
		lineStart = false
		b.WriteByte(wire[i])
		if wire[i] == '\n' && i > 0 && wire[i-1] == '\r' {
			lineStart = true
		}
	}
	return b.String(), "", false
}

// FuzzDots feeds content in blocks of every size and compares with plainDots.
func FuzzDots(f *testing.F) {
	for _, s := range []string{"a\r\n.\r\nb", ".\r\n", "..\r\n.\r\n", "a\r\r\n.\r\n", "\r\n.\r\r\n.\r\n", ".\r.\r\n.\r\n", "\n.\n\r\n.\r\nQUIT"} {
		f.Add(s, 3)
	}
	f.Fuzz(func(t *testing.T, sent string, size int) {
		if size < 1 || size > 64 {
			size = 1 + len(sent)
		}
		want, wantRest, ended := plainDots(sent)
		client, server := net.Pipe()
		go func() {
			for p := []byte(sent); len(p) > 0; {
				n, err := client.Write(p[:min(size, len(p))])
				if err != nil {
					break
				}
				p = p[n:]
			}
			client.Close()
		}()
		c := &Conn{base: listenConn(t, server), settings: Settings{DataIdleTimeout: time.Second}}
		c.in = bufio.NewReaderSize(nil, 16)
		c.speakOver(server, wire.NewWriters(maxReplies))
		c.beginContent()
		var got bytes.Buffer
		d := &dotReader{c: c}
		_, err := d.WriteTo(&got)
		if d.done != ended || (err == nil) != ended {
			t.Fatalf("%q: ended %v, %v; want %v", sent, d.done, err, ended)
		}
		if !ended {
			return
		}
		var rest bytes.Buffer
		rest.ReadFrom(c.in)
		if got.String() != want || rest.String() != wantRest {
			t.Fatalf("%q in blocks of %d: %q and %q, want %q and %q", sent, size, got.String(), rest.String(), want, wantRest)
		}
	})
}

// A message that comes more slowly than the least rate is ended after its ten minutes,
// whatever is said between two chunks; one that keeps to it has all the time it needs.
func TestLeastRate(t *testing.T) {
	const rate = 100
	for name, test := range map[string]struct {
		chunk int64  // octets of the first chunk; 0: DATA
		again string // is sent every five seconds
		ends  bool
	}{
		"DATA, too slow":         {0, strings.Repeat("x", rate*5/2), true},
		"DATA, fast enough":      {0, strings.Repeat("x", rate*6), false},
		"BDAT, too slow":         {1 << 20, strings.Repeat("x", rate*5/2), true},
		"BDAT, fast enough":      {1 << 20, strings.Repeat("x", rate*6), false},
		"NOOP between two":       {1, "NOOP\r\n", true},
		"BDAT 0 between two":     {1, "BDAT 0\r\n", true},
		"chunks of a few octets": {1, "BDAT 200\r\n" + strings.Repeat("x", 200), true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server := net.Pipe()
				s := New(Config{Logger: logs.Discard(), Open: func(*Conn) Session { return deaf{} }}, Settings{})
				defer s.Shutdown()
				c := newConn(s, listenConn(t, server), Settings{DataIdleTimeout: 24 * time.Hour, CommandTimeout: time.Hour, MinRate: rate})
				c.beginContent()
				var from content = &dotReader{c: c}
				if c.chunk = test.chunk; c.chunk > 0 {
					from = &chunkReader{c: c}
				}
				begun := time.Now()
				var sender sync.WaitGroup
				sender.Go(func() { io.Copy(io.Discard, client) })
				sender.Go(func() {
					io.WriteString(client, "x")
					for {
						time.Sleep(5 * time.Second)
						if _, err := io.WriteString(client, test.again); err != nil || time.Since(begun) > 2*RateGrace {
							break
						}
					}
					client.Close()
				})
				_, err := from.WriteTo(io.Discard)
				took := time.Since(begun)
				if ended := errors.Is(err, os.ErrDeadlineExceeded) && took >= RateGrace && took < RateGrace+time.Minute; ended != test.ends {
					t.Errorf("after %v and %d octets: %v", took, c.octets, err)
				}
				server.Close()
				sender.Wait()
			})
		})
	}
}

// listenConn counts a pipe as a connection.
func listenConn(t testing.TB, c net.Conn) *listen.Conn {
	accepted := make(chan *listen.Conn, 1)
	l := &oneConn{c: make(chan net.Conn, 1)}
	l.c <- c
	go listen.NewGroup("test", "", listen.Limits{}, logs.Discard()).Serve(l, func(c *listen.Conn) { accepted <- c })
	defer l.Close()
	return <-accepted
}

// oneConn is a listener that has one connection.
type oneConn struct{ c chan net.Conn }

func (l *oneConn) Accept() (net.Conn, error) {
	if c, ok := <-l.c; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (l *oneConn) Close() error {
	defer func() { recover() }() // twice
	close(l.c)
	return nil
}

func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// Replies of our own to commands that came at once are sent before they become many.
func TestGatheredRepliesAreBounded(t *testing.T) {
	const commands = 10_000
	client, server := net.Pipe()
	defer client.Close()
	s := New(Config{Logger: logs.Discard(), Open: func(*Conn) Session { return deaf{} }}, Settings{})
	defer s.Shutdown()
	f := &feeder{Conn: newConn(s, listenConn(t, server), Settings{CommandTimeout: time.Second})}
	f.tls = "on already"
	tlsActive := refusal.TLSActive.Reply("").Line()
	go io.WriteString(client, strings.Repeat("STARTTLS\r\n", commands))
	go f.Read(make([]byte, 1))
	most := 0
	for left := commands * len(tlsActive); left > 0; {
		n, err := client.Read(make([]byte, left)) // what one write brought
		if err != nil {
			t.Fatal(err)
		}
		left -= n
		most = max(most, n)
	}
	if most >= maxReplies+len(tlsActive) {
		t.Errorf("%d octets of replies were gathered", most)
	}
}

// deaf is a session that lets everything pass.
type deaf struct{}

func (deaf) Mail(Mail) *refusal.Refusal                            { return nil }
func (deaf) Rcpt(Rcpt) *refusal.Refusal                            { return nil }
func (deaf) Data(io.Reader) (string, *refusal.Refusal)             { return "", nil }
func (deaf) Reset()                                                {}
func (deaf) Refused(_ Command, no *refusal.Refusal) refusal.Reason { return no.Reason }
func (deaf) Close(string)                                          {}
