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

	"mailsrv/internal/listen"
	"mailsrv/pop3d"
)

// startPipes runs a server whose connections are in memory, so that hours pass in no time.
func startPipes(t *testing.T, config *tls.Config, minRate int64, idle time.Duration) (*setup, *pipes) {
	t.Helper()
	s := &setup{log: &record{}, store: newStore(0)}
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
				s, p := startPipes(t, config, rate, 5*time.Minute)
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
