package smtpd

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"

	"mailsrv/internal/listen"
	"mailsrv/smtpd/library"
)

// Settings may be replaced while the server works ([Server.SetSettings]). They count for
// connections that come later.
type Settings = library.Settings

// Config has the parts of a [Server]. All fields are required.
type Config struct {
	Hostname string
	Delivery Delivery
	Group    *listen.Group // of this daemon alone
	TLS      *tls.Config
	Logger   *slog.Logger
	Settings Settings
}

// Server is an SMTP server. All methods are safe for concurrent use.
type Server struct {
	config  Config
	library *library.Server
	guesses *guesses
	life    context.Context // of all sessions
	cancel  context.CancelFunc
	serving context.Context // of all sessions; ends when a shutdown begins
	drain   context.CancelFunc
}

// New returns a server without listeners. The caller calls [Server.Shutdown] at the end.
func New(c Config) *Server {
	s := &Server{config: c, guesses: newGuesses(c.Logger)}
	s.life, s.cancel = context.WithCancel(context.Background())
	s.serving, s.drain = context.WithCancel(s.life)
	s.library = library.New(library.Config{
		Hostname: c.Hostname, TLS: c.TLS, Logger: c.Logger,
		Open: func(conn *library.Conn) library.Session { return newSession(s, conn) },
	}, c.Settings)
	return s
}

// SetSettings replaces the settings for connections that come later.
func (s *Server) SetSettings(n Settings) { s.library.SetSettings(n) }

// Serve accepts connections from l until [Server.Shutdown], and then returns nil. It
// returns l's error if accepting fails for good. It closes l.
func (s *Server) Serve(l net.Listener) error {
	return s.config.Group.Serve(l, func(c *listen.Conn) {
		if s.admits(c) {
			s.library.Handle(c)
		}
	})
}

// Shutdown stops accepting, ends the sessions that wait for a command, and lets running
// transfers finish. If ctx ends first, it closes the other connections and returns ctx's
// error. In either case no session is left when it returns.
func (s *Server) Shutdown(ctx context.Context) error {
	s.drain()
	err := s.config.Group.Drain(ctx)
	s.cancel()
	s.config.Group.Wait()
	s.library.Shutdown()
	return err
}
