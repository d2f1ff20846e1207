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

// Config has the parts of a [Server]. All fields are required.
type Config struct {
	Hostname string
	TLS      *tls.Config // for STARTTLS
	Logger   *slog.Logger
	Open     func(*Conn) Session // called once for each connection
}

// Server speaks SMTP on connections that it is given. All methods are safe for concurrent
// use.
type Server struct {
	config    Config
	rewording rewording
	writers   *wire.Writers

	mu       sync.Mutex
	settings Settings
	engine   *engine // for later connections
	done     bool
	rest     sync.WaitGroup // entrances, each until its last session has ended
}

// New returns a server. The caller calls [Server.Shutdown] at the end.
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

// SetSettings replaces the settings for connections that come later.
func (s *Server) SetSettings(n Settings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.settings
	s.settings = n
	// A go-smtp server's limits are fixed once it serves: other limits need another server.
	if s.done || s.engine != nil && old.MaxRecipients == n.MaxRecipients && old.MaxMessageSize == n.MaxMessageSize {
		return
	}
	if s.engine != nil {
		s.engine.close()
	}
	s.engine = newEngine(s, n)
}

// Handle serves a connection in the background and closes it at the end. It returns at
// once.
func (s *Server) Handle(base *listen.Conn) {
	s.mu.Lock()
	settings := s.settings
	s.mu.Unlock()
	s.hand(&feeder{Conn: newConn(s, base, settings)})
}

// hand gives a connection to go-smtp, or closes it after Shutdown.
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

// Shutdown takes no more connections and returns when the last session has ended. It does
// not end sessions: the caller drains them, see [listen.Group.Drain].
func (s *Server) Shutdown() {
	s.mu.Lock()
	s.done = true
	e := s.engine
	s.mu.Unlock()
	e.close()
	s.rest.Wait()
}

// engine is a pair of go-smtp servers: one for new connections, one for those that have
// started TLS. To the second one they are new, as RFC 3207 section 4.2 asks.
type engine struct {
	plain, secure *entrance
	once          sync.Once // for close
}

func newEngine(s *Server, n Settings) *engine {
	return &engine{plain: newEntrance(s, n, s.config.TLS), secure: newEntrance(s, n, nil)}
}

// entrance returns the entrance for connections with TLS, or for those without.
func (e *engine) entrance(secure bool) *entrance {
	if secure {
		return e.secure
	}
	return e.plain
}

// close lets no more connections in. Connections that are open go on.
func (e *engine) close() {
	e.once.Do(func() {
		close(e.plain.closed)
		close(e.secure.closed)
	})
}

// entrance hands connections to one go-smtp server.
type entrance struct {
	server *smtp.Server
	conns  chan net.Conn
	closed chan struct{}
}

// newEntrance starts a go-smtp server. If config is not nil it offers STARTTLS, which the
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

// errorLog writes go-smtp's own errors to the log: panics, above all.
type errorLog struct{ logger *slog.Logger }

func (l errorLog) Printf(format string, v ...any) {
	l.logger.Error(logs.Failed, logs.Proto, "smtp", logs.Error, fmt.Sprintf(format, v...))
}

func (l errorLog) Println(v ...any) {
	l.logger.Error(logs.Failed, logs.Proto, "smtp", logs.Error, fmt.Sprint(v...))
}
