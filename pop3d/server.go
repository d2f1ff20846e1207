package pop3d

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"mailsrv/internal/auth"
	"mailsrv/internal/listen"
	"mailsrv/internal/wire"
	"mailsrv/storage"
)

// Authenticator proves who a client is; package auth implements it. All methods are safe
// for concurrent use.
type Authenticator interface {
	// Login returns the login that name and password prove. Errors: an *[auth.Refusal]
	// for every reason that lies with the client, [auth.ErrBusy], the context's, or an
	// unexpected one.
	Login(ctx context.Context, client netip.Addr, name, password string) (auth.Login, error)
	// Stands returns nil if a login still counts. Errors: [auth.ErrDisabled],
	// [auth.ErrRemoved], [auth.ErrChanged], or an unexpected one.
	Stands(ctx context.Context, l auth.Login) error
}

// Store is what the server needs of a store: maildrops, and claims on them.
type Store interface {
	storage.Maildrops
	storage.Claims
}

// Directory knows the retention of all mailboxes; package directory implements it. It is
// safe for concurrent use.
type Directory interface {
	// Expiries returns the different times after which mailboxes remove retrieved
	// messages; 0 is among them if some mailbox keeps them. Strangers can cause a call
	// with each CAPA before a login, so it must answer from memory.
	Expiries(ctx context.Context) ([]time.Duration, error)
}

// PlaintextLogin is the policy for passwords without TLS. The values are those of the
// configuration; any other means [PlaintextNever].
type PlaintextLogin string

// The policies.
const (
	PlaintextNever    PlaintextLogin = "never"
	PlaintextLoopback PlaintextLogin = "loopback" // from this machine alone
	PlaintextAlways   PlaintextLogin = "always"
)

// allows reports whether a client may send its password without TLS.
func (p PlaintextLogin) allows(c *listen.Conn) bool {
	return p == PlaintextAlways || p == PlaintextLoopback && c.Loopback()
}

// Settings may be replaced while the server runs ([Server.SetSettings]). All but MinRate,
// LockWait and LoginDelay are required.
type Settings struct {
	PlaintextLogin PlaintextLogin
	// IdleTimeout ends a session in which, for this time, no whole command came, or no
	// octet of a reply was taken (RFC 1939 section 3 asks for ten minutes at least).
	IdleTimeout time.Duration
	// MinRate is the least rate, in octets per second, at which a client must take what
	// it asked for, once the server has waited [RateGrace] for it; 0: no least rate.
	MinRate int64
	// LockTakeoverAfter is how long a session without marks must have been
	// silent before another login may take its maildrop.
	LockTakeoverAfter time.Duration
	// LockWait is how long a login waits for a maildrop that another session has
	// open; 0: not at all.
	LockWait time.Duration
	// HandshakeTimeout ends a connection whose TLS handshake takes longer.
	HandshakeTimeout time.Duration
	// LoginDelay is the least time between two logins to one mailbox; 0: none.
	LoginDelay time.Duration
}

// Config has the parts of a [Server]. All but TLS and Memory are required.
type Config struct {
	Store     Store
	Directory Directory
	Auth      Authenticator
	Group     *listen.Group
	TLS       *tls.Config // nil: neither STLS nor implicit TLS
	Hostname  string      // for the greeting
	Logger    *slog.Logger
	Settings  Settings
	// Memory bounds the memory of the sessions' snapshots; nil: no bound.
	Memory Memory
}

// Server serves the maildrops of one store. All methods are safe for concurrent use.
type Server struct {
	store     Store
	directory Directory
	auth      Authenticator
	group     *listen.Group
	tls       *tls.Config
	hostname  string
	logger    *slog.Logger
	settings  atomic.Pointer[Settings]
	memory    Memory
	logins    logins
	writers   *wire.Writers

	ctx     context.Context // of every session; ends when a drain gives up
	cancel  context.CancelFunc
	serving context.Context // ends when a drain begins
	drain   context.CancelFunc
}

// New returns a server without listeners.
func New(c Config) *Server {
	s := &Server{
		store: c.Store, directory: c.Directory, auth: c.Auth, group: c.Group, tls: c.TLS,
		hostname: c.Hostname, logger: c.Logger, memory: c.Memory,
		writers: wire.NewWriters(writeBuffer),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.serving, s.drain = context.WithCancel(s.ctx)
	if s.memory == nil {
		s.memory = unbounded{}
	}
	s.SetSettings(c.Settings)
	return s
}

// SetSettings replaces the settings for sessions that begin later.
func (s *Server) SetSettings(v Settings) { s.settings.Store(&v) }

// Serve serves the connections of l until [Server.Shutdown], and then returns nil. It
// returns l's error if accepting fails for good. It closes l. With implicitTLS each
// connection begins with the TLS handshake (RFC 8314 section 3).
func (s *Server) Serve(l net.Listener, implicitTLS bool) error {
	return s.group.Serve(l, func(c *listen.Conn) { s.serve(c, implicitTLS) })
}

// Shutdown stops accepting, and ends the sessions that wait for a command or for a
// maildrop, with a reply that says so. It waits for the others to finish their command. If
// ctx ends first, it cuts them off and returns ctx's error. In either case no session is
// left when it returns.
func (s *Server) Shutdown(ctx context.Context) error {
	s.drain()
	err := s.group.Drain(ctx)
	s.cancel()
	s.group.Wait()
	return err
}
