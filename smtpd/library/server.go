package library

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"github.com/emersion/go-smtp"

	"mailsrv/internal/listen"
	"mailsrv/internal/logs"
	"mailsrv/internal/wire"
)

// Config is what a server is made of. All fields are needed.
type Config struct {
	Hostname string
	TLS      *tls.Config // for STARTTLS
	Logger   *slog.Logger
	Open     func(*Conn) Session // called once for each connection
}

// Server speaks SMTP on connections that it is given. Its methods are safe for
// concurrent use.
type Server struct {
	config    Config
	rewording rewording
	writers   *wire.Writers

	mu       sync.Mutex
	settings Settings
	engine   *engine // for connections to come
	done     bool
	rest     sync.WaitGroup // entrances, each until its last session has ended
}

// New returns a server. Shutdown has to be called.
func New(c Config, s Settings) *Server {
	server := &Server{config: c, rewording: newRewording(c.Hostname), writers: wire.NewWriters(maxReplies)}
	if c.TLS != nil {
		// Exchange Online hangs up on the session tickets that Go sends in its first
		// flight of TLS 1.3, and does not fall back.
		server.config.TLS = c.TLS.Clone()
		server.config.TLS.SessionTicketsDisabled = true
	}
	server.SetSettings(s)
	return server
}

// SetSettings replaces the settings for connections to come.
func (s *Server) SetSettings(n Settings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.settings
	s.settings = n
	// go-smtp's limits are fixed once it serves: new ones need a new one.
	if s.done || s.engine != nil && old.MaxRecipients == n.MaxRecipients && old.MaxMessageSize == n.MaxMessageSize {
		return
	}
	if s.engine != nil {
		s.engine.close()
	}
	s.engine = newEngine(s, n)
}

// Handle serves a connection in the background, and closes it in the end.
func (s *Server) Handle(base *listen.Conn) {
	s.mu.Lock()
	settings := s.settings
	s.mu.Unlock()
	s.hand(&feeder{Conn: newConn(s, base, settings)})
}

// hand gives a connection to go-smtp, or closes it after the end.
func (s *Server) hand(f *feeder) {
	for {
		s.mu.Lock()
		e, done := s.engine, s.done
		s.mu.Unlock()
		if e.entrance(f.tls != "").hand(f) {
			return
		}
		if done {
			f.Close()
			return
		}
	}
}

// Shutdown takes no more connections, and returns when the last session has ended:
// the caller drains them.
func (s *Server) Shutdown() {
	s.mu.Lock()
	s.done = true
	e := s.engine
	s.mu.Unlock()
	e.close()
	s.rest.Wait()
}

// engine is a pair of go-smtp's servers: one for connections as they come, one for
// those that have started TLS, which are new to it as RFC 3207 section 4.2 asks for.
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

// entrance hands connections to one server of go-smtp.
type entrance struct {
	server *smtp.Server
	conns  chan net.Conn
	closed chan struct{}
}

// newEntrance starts a server of go-smtp. config makes it offer STARTTLS, which the
// feeder then obeys itself.
func newEntrance(s *Server, n Settings, config *tls.Config) *entrance {
	en := &entrance{conns: make(chan net.Conn), closed: make(chan struct{})}
	en.server = smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		return &bridge{c.Conn().(*feeder)}, nil
	}))
	en.server.Domain = s.config.Hostname
	en.server.TLSConfig = config
	en.server.MaxRecipients = n.MaxRecipients
	en.server.MaxMessageBytes = n.MaxMessageSize
	en.server.MaxLineLength = 0 // Conn limits commands; content has no such limit
	en.server.EnableSMTPUTF8 = true
	en.server.ErrorLog = errorLog{s.config.Logger}
	s.rest.Go(func() {
		en.server.Serve(en)
		en.server.Shutdown(context.Background()) // waits for the sessions
	})
	return en
}

// hand gives a connection to go-smtp, and reports whether it took it.
func (e *entrance) hand(c net.Conn) bool {
	select {
	case e.conns <- c:
		return true
	case <-e.closed:
		return false
	}
}

// Accept implements net.Listener for go-smtp.
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

// errorLog takes what go-smtp has to say: panics, above all.
type errorLog struct{ logger *slog.Logger }

func (l errorLog) Printf(format string, v ...any) {
	l.logger.Error(logs.Failed, logs.Proto, "smtp", logs.Error, fmt.Sprintf(format, v...))
}

func (l errorLog) Println(v ...any) {
	l.logger.Error(logs.Failed, logs.Proto, "smtp", logs.Error, fmt.Sprint(v...))
}
