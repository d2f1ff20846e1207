package config

import (
	"log/slog"
	"net/netip"
	"time"

	"mailsrv/quota"
)

// Config holds every key, valid. It is not changed once it is loaded.
type Config struct {
	File string // that was read; empty when none was found
	// Warnings are about how the file and the environment were read, Advice
	// about a server that runs with this configuration. Each is one line.
	Warnings []string
	Advice   []string

	Hostname        string
	DataDir         string // absolute
	Storage         Storage
	Memory          Memory
	TLS             TLS
	SMTP            SMTP
	POP3            POP3
	Quota           Quota
	ShutdownTimeout time.Duration
	Log             Log
}

// Storage is where mail is kept.
type Storage struct {
	URL     string // of the store, as internal/backend reads it; a path in it is absolute
	MinFree int64  // octets; below it no mail is accepted
	// MaxAside bounds what is kept aside of deleted mail, in octets; 0: a tenth of the disk.
	MaxAside int64
}

// Memory bounds what passes through the server at a time.
type Memory struct {
	Buffers int64 // octets
}

// TLS names the PEM pair of all daemons: both absolute, or both empty.
type TLS struct {
	CertFile string
	KeyFile  string
}

// SMTP is the receiving side.
type SMTP struct {
	Listen                  []string
	MaxMessageSize          int64
	MaxRecipients           int
	MaxConnections          int // 0: no limit
	MaxConnectionsPerClient int // 0: no limit
	CommandTimeout          time.Duration
	DataIdleTimeout         time.Duration
	MinRate                 int64 // octets a second, once a message has taken ten minutes
	MaxStaged               int64
	BareNewline             string         // Normalize or Reject
	ProxyProtocol           []netip.Prefix // of the proxies
}

// POP3 is the serving side.
type POP3 struct {
	Listen                  []string
	ListenTLS               []string
	PlaintextLogin          string // Never, Loopback or Always
	MaxConnections          int    // 0: no limit
	MaxConnectionsPerClient int    // 0: no limit
	IdleTimeout             time.Duration
	LockTakeoverAfter       time.Duration
	LockWait                time.Duration  // 0: not at all
	LoginDelay              time.Duration  // 0: none
	ProxyProtocol           []netip.Prefix // of the proxies
}

// Quota is the limit of mailboxes whose own and whose domain's is not set, and
// what becomes of mail for a full one.
type Quota struct {
	DefaultSize     int64
	DefaultMessages int64
	WhenFull        string // Reject or Defer
}

// Log is how much is logged, and how.
type Log struct {
	Level  slog.Level
	Format string // Text or JSON
}

// Values of keys that name a choice.
const (
	Normalize = "normalize"
	Reject    = "reject"
	Defer     = "defer"
	Never     = "never"
	Loopback  = "loopback"
	Always    = "always"
	Text      = "text"
	JSON      = "json"
)

// Limit is the server's limit for one mailbox.
func (c *Config) Limit() quota.Limit {
	return quota.Limit{Octets: quota.OrUnlimited(c.Quota.DefaultSize), Messages: quota.OrUnlimited(c.Quota.DefaultMessages)}
}

// Source names where the configuration came from, for an error that it may be
// the reason of.
func (c *Config) Source() string {
	if c.File == "" {
		return "no configuration file"
	}
	return "configuration " + c.File
}
