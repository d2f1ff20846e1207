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

	"mailsrv/delivery"
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
}

// RateGrace is how long a message may take before it is held to the least rate.
const RateGrace = 10 * time.Minute

// Config is what a server is made of. All fields are needed.
type Config struct {
	Hostname string
	Agent    *delivery.Agent
	Group    *listen.Group // of this daemon alone
	TLS      *tls.Config
	Logger   *slog.Logger
	Settings Settings
}

// Server is an SMTP server.
type Server struct {
	config   Config
	settings atomic.Pointer[Settings]

	mu      sync.Mutex
	engine  *engine   // for connections to come
	engines []*engine // all that may have connections
	done    bool
	rest    sync.WaitGroup // engines' accept loops
}

// New returns a server that listens nowhere yet.
func New(c Config) *Server {
	s := &Server{config: c}
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
	s.engine = newEngine(s, n)
	s.engines = append(s.engines, s.engine)
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
		s.mu.Lock()
		e := s.engine
		s.mu.Unlock()
		e.plain.hand(newConn(s, e, c.(*listen.Conn)))
	}
}

// Shutdown stops accepting, ends the sessions that wait for a command, and lets
// running transfers finish until ctx ends, when it closes what is left and
// returns ctx's error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.done = true
	engines := s.engines
	s.mu.Unlock()
	err := s.config.Group.Drain(ctx)
	for _, e := range engines {
		e.plain.shutdown(ctx)
		e.secure.shutdown(ctx)
	}
	s.rest.Wait()
	return err
}

// engine is a pair of library servers: one for connections as they come, one
// for those that have started TLS, which are new to it as RFC 3207 section 4.2
// asks for.
type engine struct {
	plain, secure *entrance
}

func newEngine(s *Server, n Settings) *engine {
	e := &engine{}
	e.plain = newEntrance(s, e, n, s.config.TLS)
	e.secure = newEntrance(s, e, n, nil)
	return e
}

// entrance hands connections to one library server.
type entrance struct {
	library *smtp.Server
	conns   chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

// newEntrance starts a library server. config makes it offer STARTTLS, which
// conn then obeys itself.
func newEntrance(s *Server, e *engine, n Settings, config *tls.Config) *entrance {
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
	s.rest.Go(func() { en.library.Serve(en) })
	return en
}

// hand gives a connection to the library, or closes it after the end.
func (e *entrance) hand(c net.Conn) {
	select {
	case e.conns <- c:
	case <-e.closed:
		c.Close()
	}
}

// shutdown ends the accept loop and waits for the library's sessions.
func (e *entrance) shutdown(ctx context.Context) {
	e.Close()
	e.library.Shutdown(ctx)
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
func (e *entrance) Close() error {
	e.once.Do(func() { close(e.closed) })
	return nil
}

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
