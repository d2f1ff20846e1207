package pop3d_test

import (
	"bufio"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mailsrv/internal/buffers"
	"mailsrv/internal/listen"
	"mailsrv/internal/mail"
	"mailsrv/pop3d"
	"mailsrv/storage/memory"
)

// startPipes runs a server whose connections are in memory, so that hours pass in no time.
func startPipes(t *testing.T, store *store, config *tls.Config, minRate int64, idle time.Duration) (*setup, *pipes) {
	t.Helper()
	s := &setup{log: &record{}, store: store}
	logger := slog.New(slog.NewTextHandler(s.log, nil))
	s.group = listen.NewGroup("pop3", "", listen.Limits{}, logger)
	s.Server = pop3d.New(pop3d.Config{
		Store: s.store, Directory: expiries{0}, Auth: authenticator{}, TLS: config, Hostname: "mail.me.com", Group: s.group, Logger: logger,
		Settings: pop3d.Settings{
			PlaintextLogin: pop3d.PlaintextAlways, IdleTimeout: idle, LockTakeoverAfter: time.Minute,
			HandshakeTimeout: time.Minute, MinRate: minRate,
		},
	})
	p := listenPipes()
	go s.Serve(p, false)
	return s, p
}

// sip reads octets one second after the other, so many each, and returns how long the
// server let it.
func sip(c io.Reader, each int) (text string, took time.Duration) {
	var got strings.Builder
	begun := time.Now()
	b := make([]byte, each)
	for !strings.HasSuffix(got.String(), "\r\n.\r\n") {
		n, err := c.Read(b)
		got.Write(b[:n])
		if err != nil {
			break
		}
		time.Sleep(time.Second)
	}
	return got.String(), time.Since(begun)
}

// A client that takes what it asked for more slowly than the least rate is ended once it
// has been waited for ten minutes, and gives its maildrop and its memory back; one that
// keeps to the rate has all the time it needs.
func TestSlowReaderIsEnded(t *testing.T) {
	config, err := certificate()
	if err != nil {
		t.Fatal(err)
	}
	const rate = 100
	text := strings.Repeat(strings.Repeat("x", 98)+"\r\n", 4000)
	for name, test := range map[string]struct {
		commands string
		each     int
		secure   bool
		ended    bool
	}{
		"too slow":                   {"RETR 1\r\nDELE 1\r\nQUIT\r\n", rate * 9 / 10, false, true},
		"too slow, TLS":              {"RETR 1\r\nDELE 1\r\nQUIT\r\n", rate * 9 / 10, true, true},
		"too slow, message after it": {strings.Repeat("RETR 2\r\n", 1000), rate * 9 / 10, false, true},
		"fast enough":                {"RETR 1\r\n", rate * 11 / 10, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, p := startPipes(t, newStore(0), config, rate, 5*time.Minute)
				s.store.put(bob, message{uidl: "long", text: text}, message{uidl: "short", text: text[:20_000]})
				c := p.dial()
				in := bufio.NewReader(c)
				in.ReadString('\n')
				if test.secure {
					io.WriteString(c, "STLS\r\n")
					in.ReadString('\n')
					c = net.Conn(tls.Client(c, clientTLS))
					in = bufio.NewReader(c)
				}
				io.WriteString(c, "USER bob@me.com\r\n")
				in.ReadString('\n')
				io.WriteString(c, "PASS secret\r\n")
				in.ReadString('\n')
				go io.WriteString(c, test.commands)
				got, took := sip(c, test.each)
				if !test.ended {
					if len(got) < len(text) || took < pop3d.RateGrace {
						t.Errorf("%d octets in %v", len(got), took)
					}
				} else if took < pop3d.RateGrace || took > pop3d.RateGrace+time.Minute || !strings.Contains(s.log.String(), `reason="client reads too slowly"`) {
					t.Errorf("it ended after %v and %d octets: %s", took, len(got), s.log.String())
				}
				c.Close()
				synctest.Wait()
				if s.group.Open() != 0 || s.store.Reading() != 0 {
					t.Error("something is still held")
				}
				if left := s.store.left(bob); len(left) != 2 {
					t.Errorf("left %v", left)
				}
				p.Close()
			})
		})
	}
}

// One network's readers do not hold the memory that others wait for: of those beyond its
// share the youngest ends, without the final dot.
func TestReadersOfOneNetworkYieldMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newStoreWith(memory.Options{Buffers: buffers.NewPool(4*buffers.Max, time.Minute)})
		text := strings.Repeat(strings.Repeat("x", 98)+"\r\n", 10_000)
		greedy := []string{"alice@me.com", "bob@me.com", "faulty@me.com", "passing@me.com"}
		for _, id := range []mail.MailboxID{alice, bob, faulty, passing, vast} {
			store.put(id, message{uidl: "long", text: text})
		}
		s, p := startPipes(t, store, nil, 0, 10*time.Minute)
		begin := func(from, name string) *bufio.Reader {
			c := p.dialFrom(from)
			in := bufio.NewReaderSize(c, 16)
			in.ReadString('\n')
			io.WriteString(c, "USER "+name+"\r\n")
			in.ReadString('\n')
			io.WriteString(c, "PASS secret\r\n")
			if line, _ := in.ReadString('\n'); !strings.HasPrefix(line, "+OK") {
				t.Fatalf("%s: %q", name, line)
			}
			last := "1"
			if name != "bob@me.com" && name != "vast@me.com" {
				io.WriteString(c, "STAT\r\n")
				last = strings.Fields(first(in.ReadString('\n')))[1]
			}
			io.WriteString(c, "RETR "+last+"\r\n")
			in.ReadString('\n')
			return in
		}
		var readers []*bufio.Reader
		for _, name := range greedy {
			readers = append(readers, begin("192.0.2.1", name))
		}
		begun := time.Now()
		other, _ := io.ReadAll(io.LimitReader(begin("192.0.2.2", "vast@me.com"), int64(len(text))))
		if string(other) != text || time.Since(begun) > 6*time.Second {
			t.Errorf("%d octets after %v", len(other), time.Since(begun))
		}
		for i, in := range readers {
			rest, _ := io.ReadAll(io.LimitReader(in, int64(len(text))+3))
			if whole := strings.HasSuffix(string(rest), "\r\n.\r\n"); whole != (i < len(readers)-1) {
				t.Errorf("reader %d got %d octets", i, len(rest))
			}
		}
		if n := strings.Count(s.log.String(), `reason="others need the memory that its transfer holds"`); n != 1 {
			t.Errorf("%d sessions ended for others", n)
		}
		p.hangUp()
		synctest.Wait()
	})
}

func first(line string, _ error) string { return line }

// addressed is a connection in memory that comes from an address.
type addressed struct {
	net.Conn
	from net.Addr
}

func (a addressed) RemoteAddr() net.Addr { return a.from }

// dialFrom connects from an address of the test's own.
func (p *pipes) dialFrom(from string) net.Conn {
	client, server := net.Pipe()
	p.conns <- addressed{server, &net.TCPAddr{IP: net.ParseIP(from)}}
	p.open = append(p.open, client)
	return client
}

// hangUp closes what dialFrom has opened, and the listener.
func (p *pipes) hangUp() {
	for _, c := range p.open {
		c.Close()
	}
	p.Close()
}
