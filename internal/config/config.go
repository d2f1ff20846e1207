package config

import (
	"log/slog"
	"net/netip"
	"time"

	"mailsrv/quota"
)

// Config is a valid value for every key. It does not change after [Load].
type Config struct {
	File string // that was read; empty when none was found
	// Warnings are about reading the file and the environment, Advice is about a server
	// that runs with this configuration. Each is one line.
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
	URL     string // of the store, as for backend.Open; a path in it is absolute
	MinFree int64  // octets of free disk space; below it no mail is accepted
	// MaxAside bounds what is kept aside of deleted mail, in octets; 0: a tenth of the disk.
	MaxAside int64
}

// Memory bounds the memory for messages that pass through the server.
type Memory struct {
	Buffers int64 // octets, for all messages together
}

// TLS names the PEM files of all daemons: absolute paths, or both empty.
type TLS struct {
	CertFile string
	KeyFile  string
}

// SMTP configures how mail is received.
type SMTP struct {
	Listen                  []string
	MaxMessageSize          int64
	MaxRecipients           int
	MaxConnections          int // 0: no limit
	MaxConnectionsPerClient int // 0: no limit
	CommandTimeout          time.Duration
	DataIdleTimeout         time.Duration
	MinRate                 int64 // octets a second; applies once a message has taken ten minutes
	MaxStaged               int64
	BareNewline             string         // Normalize or Reject
	ProxyProtocol           []netip.Prefix // of the proxies
	TrustedNetworks         []netip.Prefix // whose clients no guess is held against
}

// POP3 configures how mail is fetched.
type POP3 struct {
	Listen                  []string
	ListenTLS               []string
	PlaintextLogin          string // Never, Loopback or Always
	MaxConnections          int    // 0: no limit
	MaxConnectionsPerClient int    // 0: no limit
	IdleTimeout             time.Duration
	MinRate                 int64 // octets a second, once a client has been waited for ten minutes
	LockTakeoverAfter       time.Duration
	LockWait                time.Duration  // 0: a login does not wait
	LoginDelay              time.Duration  // 0: none
	ProxyProtocol           []netip.Prefix // of the proxies
}

// Quota is the limit of mailboxes that inherit it, and how mail for a full mailbox is
// refused.
type Quota struct {
	DefaultSize     int64  // octets; 0: no limit
	DefaultMessages int64  // 0: no limit
	WhenFull        string // Reject or Defer
}

// Log is how much is logged, and how.
type Log struct {
	Level  slog.Level
	Format string // Text or JSON
}

// Values of keys that are a choice.
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

// Limit returns the limit of mailboxes that inherit the server's.
func (c *Config) Limit() quota.Limit {
	return quota.Limit{Octets: quota.OrUnlimited(c.Quota.DefaultSize), Messages: quota.OrUnlimited(c.Quota.DefaultMessages)}
}

// Source returns a phrase that says where the configuration came from, for errors that
// it may have caused.
func (c *Config) Source() string {
	if c.File == "" {
		return "no configuration file"
	}
	return "configuration " + c.File
}
