package config

import (
	"math"
	"reflect"
	"time"
)

// key is one key: its name, its default as the environment would give it, the
// field it sets, and whether a running server can take over another value.
type key struct {
	name     string
	standard string
	life     life
	field    field
}

type life int

const (
	live    life = iota // a reload is enough
	restart             // read at the start alone
)

// keys is the table of all keys, bound to the fields of c.
func (c *Config) keys() []key {
	return []key{
		{"hostname", "", restart, hostname(&c.Hostname)},
		{"data_dir", "/var/lib/mailsrv", restart, path(&c.DataDir, required)},

		{"storage.url", "", restart, storeURL(&c.Storage.URL)},
		{"storage.min_free", "256MiB", restart, size(&c.Storage.MinFree, 0, math.MaxInt64)},
		{"storage.max_aside", "", live, sizeOrNone(&c.Storage.MaxAside, 1<<20)},
		{"memory.buffers", "64MiB", restart, size(&c.Memory.Buffers, 1<<20, math.MaxInt64)},

		{"tls.cert_file", "", live, path(&c.TLS.CertFile, optional)},
		{"tls.key_file", "", live, path(&c.TLS.KeyFile, optional)},

		{"smtp.listen", ":25", restart, addresses(&c.SMTP.Listen)},
		// The SMTP library reads SIZE= as 32 bits; RFC 5321 section
		// 4.5.3.1.7 asks for 64 KiB at the least.
		{"smtp.max_message_size", "50MiB", live, size(&c.SMTP.MaxMessageSize, 64<<10, 2<<30)},
		{"smtp.max_recipients", "100", live, count(&c.SMTP.MaxRecipients, 1, 10000)},
		{"smtp.max_connections", "1000", live, count(&c.SMTP.MaxConnections, 0, math.MaxInt32)},
		{"smtp.max_connections_per_client", "50", live, count(&c.SMTP.MaxConnectionsPerClient, 0, math.MaxInt32)},
		{"smtp.proxy_protocol", "", live, networks(&c.SMTP.ProxyProtocol)},
		{"smtp.command_timeout", "5m", live, duration(&c.SMTP.CommandTimeout, time.Second, 24*time.Hour)},
		{"smtp.data_idle_timeout", "5m", live, duration(&c.SMTP.DataIdleTimeout, time.Second, 24*time.Hour)},
		{"smtp.min_rate", "1KiB", live, size(&c.SMTP.MinRate, 0, math.MaxInt32)},
		{"smtp.max_staged", "4GiB", restart, size(&c.SMTP.MaxStaged, 64<<10, math.MaxInt64)},
		{"smtp.bare_newline", Normalize, live, choice(&c.SMTP.BareNewline, Normalize, Reject)},

		{"pop3.listen", ":110", restart, addresses(&c.POP3.Listen)},
		{"pop3.listen_tls", ":995", restart, addresses(&c.POP3.ListenTLS)},
		{"pop3.plaintext_login", Loopback, live, choice(&c.POP3.PlaintextLogin, Never, Loopback, Always)},
		{"pop3.max_connections", "1000", live, count(&c.POP3.MaxConnections, 0, math.MaxInt32)},
		{"pop3.max_connections_per_client", "50", live, count(&c.POP3.MaxConnectionsPerClient, 0, math.MaxInt32)},
		{"pop3.proxy_protocol", "", live, networks(&c.POP3.ProxyProtocol)},
		{"pop3.idle_timeout", "10m", live, duration(&c.POP3.IdleTimeout, time.Second, 24*time.Hour)},
		{"pop3.lock_takeover_after", "1m", live, duration(&c.POP3.LockTakeoverAfter, time.Second, 24*time.Hour)},
		{"pop3.lock_wait", "10s", live, duration(&c.POP3.LockWait, 0, 24*time.Hour)},
		{"pop3.login_delay", "0", live, duration(&c.POP3.LoginDelay, 0, 24*time.Hour)},

		{"quota.default_size", "1GiB", live, size(&c.Quota.DefaultSize, 0, math.MaxInt64)},
		{"quota.default_messages", "0", live, count(&c.Quota.DefaultMessages, 0, math.MaxInt64)},
		{"quota.when_full", Reject, live, choice(&c.Quota.WhenFull, Reject, Defer)},

		{"shutdown_timeout", "30s", live, duration(&c.ShutdownTimeout, 0, 24*time.Hour)},
		{"log.level", "info", live, level(&c.Log.Level)},
		{"log.format", Text, restart, choice(&c.Log.Format, Text, JSON)},
	}
}

// Change is a key whose value differs between two configurations.
type Change struct {
	Key     string
	Restart bool // a running server cannot take it over
}

// Changes lists the keys in which b differs from a, in the order of the table.
func Changes(a, b *Config) []Change {
	var changes []Change
	before := a.keys()
	for i, after := range b.keys() {
		if !reflect.DeepEqual(before[i].field.at, after.field.at) {
			changes = append(changes, Change{Key: after.name, Restart: after.life == restart})
		}
	}
	return changes
}
