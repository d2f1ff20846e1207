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

// Authenticator proves who a client is; internal/auth does.
type Authenticator interface {
	// Login returns who name and password prove the client to be. Errors: an
	// *auth.Refusal for every reason that lies with the client, auth.ErrBusy,
	// the context's, or an unexpected one.
	Login(ctx context.Context, client netip.Addr, name, password string) (auth.Login, error)
	// Stands says whether a login still counts: nil; auth.ErrDisabled,
	// auth.ErrRemoved, auth.ErrChanged; any other error is unexpected.
	Stands(ctx context.Context, l auth.Login) error
}

// Store is what a daemon needs of a store: maildrops, and who holds them.
type Store interface {
	storage.Maildrops
	storage.Claims
}

// Directory tells what holds for the mailboxes in all; internal/directory does.
type Directory interface {
	// Expiries returns the different times after which retrieved messages go
	// from some mailbox, 0 among them where they stay. It is asked at each CAPA
	// before a login, as often as strangers like, and answers from memory.
	Expiries(ctx context.Context) ([]time.Duration, error)
}

// PlaintextLogin says where a password may cross without TLS. The values are
// those of the configuration; any other means PlaintextNever.
type PlaintextLogin string

// The policies.
const (
	PlaintextNever    PlaintextLogin = "never"
	PlaintextLoopback PlaintextLogin = "loopback" // from this machine alone
	PlaintextAlways   PlaintextLogin = "always"
)

// allows says whether a client may send its password without TLS.
func (p PlaintextLogin) allows(c *listen.Conn) bool {
	return p == PlaintextAlways || p == PlaintextLoopback && c.Loopback()
}

// Settings may change while the server runs. All but MinRate, LockWait and LoginDelay
// must be set.
type Settings struct {
	PlaintextLogin PlaintextLogin
	// IdleTimeout ends a session after so long without a whole command, or
	// without an octet of a reply being taken (RFC 1939 section 3 asks for ten
	// minutes at least).
	IdleTimeout time.Duration
	// MinRate is how many octets a second a client must take of what it asked for,
	// once the server has waited RateGrace for it; 0: none.
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

// Config is what a server is made of. All but TLS and Memory must be set.
type Config struct {
	Store     Store
	Directory Directory
	Auth      Authenticator
	Group     *listen.Group
	TLS       *tls.Config // nil: neither STLS nor implicit TLS
	Hostname  string      // for the greeting
	Logger    *slog.Logger
	Settings  Settings
	// Memory bounds what sessions hold of their maildrops; nil does not.
	Memory Memory
}

// Server serves the maildrops of one store. Its methods are safe for concurrent use.
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

// New makes a server that serves nothing yet.
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

// SetSettings changes the settings for sessions to come.
func (s *Server) SetSettings(v Settings) { s.settings.Store(&v) }

// Serve serves the connections of l, a listener of its own, until Shutdown,
// and then returns nil. It closes l. implicitTLS begins each connection with
// the TLS handshake (RFC 8314 section 3).
func (s *Server) Serve(l net.Listener, implicitTLS bool) error {
	return s.group.Serve(l, func(c *listen.Conn) { s.serve(c, implicitTLS) })
}

// Shutdown stops accepting, tells the sessions that wait for a command or for a
// maildrop and ends them, and waits for the others to finish theirs. When ctx ends first
// they are cut off, and its error is returned. In either case no session is
// left when it returns.
func (s *Server) Shutdown(ctx context.Context) error {
	s.drain()
	err := s.group.Drain(ctx)
	s.cancel()
	s.group.Wait()
	return err
}
