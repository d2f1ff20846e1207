package pop3d_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"mailsrv/internal/listen"
	"mailsrv/internal/logs"
	"mailsrv/pop3d"
	"mailsrv/test/kit"
	"mailsrv/test/transcript"
)

// record is a log with a look at its events.
type record struct{ logs.Recorder }

// lines returns the lines of one event.
func (r *record) lines(event string) (lines []string) {
	for line := range strings.Lines(r.String()) {
		if strings.Contains(line, fmt.Sprintf("msg=%q ", event)) || strings.Contains(line, "msg="+event+" ") {
			lines = append(lines, line)
		}
	}
	return lines
}

// setup is a server on loopback with the store of the tests.
type setup struct {
	*pop3d.Server
	store    *store
	log      *record
	group    *listen.Group
	addr     string
	implicit string // address with implicit TLS
	served   chan error
}

// certificate is made once: it is the dear part of a server.
var certificate = sync.OnceValues(func() (*tls.Config, error) {
	var c listen.Certificate
	dir, err := os.MkdirTemp("", "pop3d")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	cert, key, _, err := listen.SelfSigned(dir, "mail.me.com")
	if err != nil {
		return nil, err
	}
	if err := c.Load(cert, key); err != nil {
		return nil, err
	}
	return c.Config(), nil
})

var clientTLS = &tls.Config{InsecureSkipVerify: true}

// vastText is more than the buffers of a connection take.
var vastText = "\r\n" + strings.Repeat(strings.Repeat("v", 998)+"\r\n", 32<<10)

// start runs a server until the test's end. change adapts what it is made of.
func start(t testing.TB, change func(*pop3d.Config)) *setup {
	t.Helper()
	config, err := certificate()
	if err != nil {
		t.Fatal(err)
	}
	s := &setup{log: &record{}, served: make(chan error, 2)}
	c := pop3d.Config{
		Store: newStore(0), Directory: expiries{0}, Auth: authenticator{}, TLS: config, Hostname: "mail.me.com",
		Logger: slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Settings: pop3d.Settings{
			PlaintextLogin: pop3d.PlaintextLoopback, IdleTimeout: 10 * time.Minute, LockTakeoverAfter: time.Minute,
			HandshakeTimeout: time.Minute,
		},
	}
	s.group = listen.NewGroup("pop3", "-ERR [SYS/TEMP] too many connections\r\n", listen.Limits{}, c.Logger)
	c.Group = s.group
	if change != nil {
		change(&c)
	}
	s.store, _ = c.Store.(*store)
	s.Server = pop3d.New(c)
	for i, to := range []*string{&s.addr, &s.implicit} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		*to = l.Addr().String()
		go func() { s.served <- s.Serve(l, i == 1) }()
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		s.Shutdown(ctx)
		if s.store == nil { // another
			return
		}
		if err := s.store.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *setup) dial(t testing.TB) net.Conn { t.Helper(); return kit.Dial(t, s.addr).Conn }

func (s *setup) dialTLS(t testing.TB) net.Conn {
	t.Helper()
	c, err := tls.Dial("tcp", s.implicit, clientTLS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// client is the kit's, by the names that the tests of this room use.
type client struct{ *kit.Client }

func (c *client) send(text string) { c.T.Helper(); c.Say(text) }
func (c *client) line() string     { c.T.Helper(); return c.Line() }

// want reads a line that begins so.
func (c *client) want(prefix string) string { c.T.Helper(); return c.Want(prefix) }

// wantEnd reads the connection's end, in whatever order it comes, and returns what came
// before.
func (c *client) wantEnd() string {
	c.T.Helper()
	said, _ := c.End()
	return said
}

// connect reads the greeting.
func (s *setup) connect(t testing.TB) *client {
	t.Helper()
	c := &client{kit.Dial(t, s.addr)}
	c.want("+OK mail.me.com ")
	return c
}

// login connects and opens a maildrop.
func (s *setup) login(t testing.TB, name string) *client {
	t.Helper()
	c := s.connect(t)
	c.send("USER " + name + "\r\nPASS secret\r\n")
	c.want("+OK")
	c.want("+OK")
	return c
}

// eventually waits for a condition that another goroutine brings about.
var eventually = kit.Await

func TestTranscripts(t *testing.T) {
	plain := func(change func(*pop3d.Config)) func(*testing.T) net.Conn {
		return func(t *testing.T) net.Conn { return start(t, change).dial(t) }
	}
	for dir, dial := range map[string]func(*testing.T) net.Conn{
		"authorization": plain(nil),
		"transaction":   plain(nil),
		// Every cut of a message must come out the same.
		"pieces":      plain(func(c *pop3d.Config) { c.Store = newStore(1) }),
		"never":       plain(func(c *pop3d.Config) { c.Settings.PlaintextLogin = pop3d.PlaintextNever }),
		"without_tls": plain(func(c *pop3d.Config) { c.TLS = nil }),
		"without_login": plain(func(c *pop3d.Config) {
			c.TLS = nil
			c.Settings.PlaintextLogin = "" // unset is never
		}),
		"expire":         plain(func(c *pop3d.Config) { c.Directory = expiries{14*24*time.Hour + time.Hour, 0, 36 * time.Hour} }),
		"expire_unknown": plain(func(c *pop3d.Config) { c.Directory = expiries(nil) }),
		"login_delay":    plain(func(c *pop3d.Config) { c.Settings.LoginDelay = 90*time.Second + time.Millisecond }),
		"implicit_tls":   func(t *testing.T) net.Conn { return start(t, nil).dialTLS(t) },
	} {
		t.Run(dir, func(t *testing.T) { transcript.RunDir(t, "testdata/"+dir, dial, clientTLS) })
	}
}
