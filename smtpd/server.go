package smtpd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emersion/go-smtp"

	"mailsrv/internal/listen"
	"mailsrv/internal/logs"
)

// Settings may change while the server works; they count for connections to
// come.
type Settings struct {
	MaxRecipients   int           // a transaction
	MaxMessageSize  int64         // octets as sent, less than 4 GiB
	CommandTimeout  time.Duration // for a command to arrive, and a reply to leave
	DataIdleTimeout time.Duration // between octets of the content
	MinRate         int64         // octets a second, once a message has taken RateGrace
	// HandshakeTimeout ends a connection whose TLS handshake takes longer.
	HandshakeTimeout time.Duration
}

// RateGrace is how long a message may take before it is held to the least rate.
const RateGrace = 10 * time.Minute

// Config is what a server is made of. All fields are needed.
type Config struct {
	Hostname string
	Delivery Delivery
	Group    *listen.Group // of this daemon alone
	TLS      *tls.Config
	Logger   *slog.Logger
	Settings Settings
}

// Server is an SMTP server.
type Server struct {
	config   Config
	settings atomic.Pointer[Settings]
	life     context.Context // of all sessions
	cancel   context.CancelFunc

	rewording rewording

	mu     sync.Mutex
	engine *engine // for connections to come
	done   bool
	rest   sync.WaitGroup // entrances, each until its last session has ended
}

// New returns a server that listens nowhere yet.
func New(c Config) *Server {
	s := &Server{config: c, rewording: newRewording(c.Hostname)}
	if c.TLS != nil {
		// Exchange Online hangs up on the session tickets that Go sends in its first
		// flight of TLS 1.3, and does not fall back.
		s.config.TLS = c.TLS.Clone()
		s.config.TLS.SessionTicketsDisabled = true
	}
	s.life, s.cancel = context.WithCancel(context.Background())
	s.SetSettings(c.Settings)
	return s
}

// SetSettings replaces the settings.
func (s *Server) SetSettings(n Settings) {
	old := s.settings.Swap(&n)
	if old != nil && old.MaxRecipients == n.MaxRecipients && old.MaxMessageSize == n.MaxMessageSize {
		return
	}
	// The library's limits are fixed once it serves: new ones need a new one.
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		return
	}
	if s.engine != nil {
		s.engine.close()
	}
	s.engine = newEngine(s, n)
}

// Serve accepts connections from l until Shutdown, and then returns nil.
func (s *Server) Serve(l net.Listener) error {
	accepted := s.config.Group.Wrap(l)
	for {
		c, err := accepted.Accept()
		if err != nil {
			s.mu.Lock()
			done := s.done
			s.mu.Unlock()
			if done {
				return nil
			}
			if errors.Is(err, net.ErrClosed) {
				return err
			}
			// Out of descriptors, mostly: others will be closed soon.
			s.config.Logger.Warn(logs.Warning, logs.Proto, "smtp", logs.Error, err)
			time.Sleep(50 * time.Millisecond)
			continue
		}
		s.hand(newConn(s, c.(*listen.Conn)))
	}
}

// hand gives a connection to the library, or closes it after the end.
func (s *Server) hand(c *conn) {
	for {
		s.mu.Lock()
		e, done := s.engine, s.done
		s.mu.Unlock()
		if e.entrance(c.tls != "").hand(c) {
			return
		}
		if done {
			c.Close()
			return
		}
	}
}

// Shutdown stops accepting, ends the sessions that wait for a command, and lets
// running transfers finish until ctx ends, when it closes what is left and
// returns ctx's error. In either case no session is left when it returns.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.done = true
	e := s.engine
	s.mu.Unlock()
	err := s.config.Group.Drain(ctx)
	s.cancel()
	e.close()
	s.rest.Wait()
	return err
}

// engine is a pair of library servers: one for connections as they come, one
// for those that have started TLS, which are new to it as RFC 3207 section 4.2
// asks for.
type engine struct {
	plain, secure *entrance
	once          sync.Once // closes
}

func newEngine(s *Server, n Settings) *engine {
	return &engine{plain: newEntrance(s, n, s.config.TLS), secure: newEntrance(s, n, nil)}
}

// entrance is that for connections with TLS, or for those without.
func (e *engine) entrance(secure bool) *entrance {
	if secure {
		return e.secure
	}
	return e.plain
}

// close lets no more connections in. Those that are in go on.
func (e *engine) close() {
	e.once.Do(func() {
		close(e.plain.closed)
		close(e.secure.closed)
	})
}

// entrance hands connections to one library server.
type entrance struct {
	library *smtp.Server
	conns   chan net.Conn
	closed  chan struct{}
}

// newEntrance starts a library server. config makes it offer STARTTLS, which
// conn then obeys itself.
func newEntrance(s *Server, n Settings, config *tls.Config) *entrance {
	en := &entrance{conns: make(chan net.Conn), closed: make(chan struct{})}
	en.library = smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		return newSession(s, c), nil
	}))
	en.library.Domain = s.config.Hostname
	en.library.TLSConfig = config
	en.library.MaxRecipients = n.MaxRecipients
	en.library.MaxMessageBytes = n.MaxMessageSize
	en.library.MaxLineLength = 0 // conn limits commands; content has no such limit
	en.library.EnableSMTPUTF8 = true
	en.library.ErrorLog = libraryLog{s.config.Logger}
	s.rest.Go(func() {
		en.library.Serve(en)
		en.library.Shutdown(context.Background()) // waits for the sessions
	})
	return en
}

// hand gives a connection to the library, and reports whether it took it.
func (e *entrance) hand(c net.Conn) bool {
	select {
	case e.conns <- c:
		return true
	case <-e.closed:
		return false
	}
}

// Accept implements net.Listener for the library.
func (e *entrance) Accept() (net.Conn, error) {
	select {
	case c := <-e.conns:
		return c, nil
	case <-e.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (e *entrance) Close() error { return nil }

// Addr implements net.Listener.
func (e *entrance) Addr() net.Addr { return &net.TCPAddr{} }

// libraryLog takes what go-smtp has to say: panics, above all.
type libraryLog struct{ logger *slog.Logger }

func (l libraryLog) Printf(format string, v ...any) {
	l.logger.Error(logs.Failed, logs.Proto, "smtp", logs.Error, fmt.Sprintf(format, v...))
}

func (l libraryLog) Println(v ...any) {
	l.logger.Error(logs.Failed, logs.Proto, "smtp", logs.Error, fmt.Sprint(v...))
}
