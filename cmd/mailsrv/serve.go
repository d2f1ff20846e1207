package main

import (
	"context"
	"log/slog"
	"os"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"mailsrv/delivery"
	"mailsrv/internal/admin"
	"mailsrv/internal/backend"
	"mailsrv/internal/buffers"
	"mailsrv/internal/config"
	"mailsrv/internal/control"
	"mailsrv/internal/listen"
	"mailsrv/internal/logs"
	"mailsrv/pop3d"
	"mailsrv/smtpd"
)

func (p *program) serveCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "serve [flags]",
		Short: "Run the server",
		Long: `Runs the server until it is told to stop, and logs to standard error.

SIGTERM or SIGINT drains: no new connections, idle sessions end, running
transfers may finish within shutdown_timeout. A second one ends it at once; no
accepted message is lost by that.
SIGHUP, or "mailsrv reload", reads configuration and certificate again: what can
be applied is, the log names the keys that need a restart, and where anything is
wrong nothing changes.

Ports below 1024 are for root or for a program with CAP_NET_BIND_SERVICE.
Started by root, the server opens its ports and then takes the identity of the
data directory's owner. Only one server runs on a data directory.

A store that an older version wrote is upgraded at the start: take a backup
first.`,
		Example: `  mailsrv serve
  MAILSRV_SMTP_LISTEN=127.0.0.1:2525 mailsrv serve --config test.yaml`,
	}
	return p.command(c, exactly(), func(ctx context.Context, _ []string) error { return p.serve(ctx) })
}

// bufferWait is how long a transfer waits for memory before it is refused for now.
const bufferWait = 30 * time.Second

// handshakeTimeout is how long a TLS handshake may take.
const handshakeTimeout = 30 * time.Second

// serve assembles the server and runs it.
func (p *program) serve(ctx context.Context) error {
	cfg, err := p.read(p.configFile)
	if err != nil {
		return err
	}
	level := &slog.LevelVar{}
	level.Set(cfg.Log.Level)
	logger, err := logs.New(p.stderr, cfg.Log.Format, level)
	if err != nil {
		return err
	}
	logger = slog.New(remedial{logger.Handler()})
	p.warn = func(texts ...string) {
		for _, text := range texts {
			logger.Warn(logs.Warning, logs.Reason, text)
		}
	}
	p.warn(cfg.Warnings...)
	defer syscall.Umask(syscall.Umask(0o077))

	orders := newOrders()
	defer orders.close()

	// Ports first: they may need root, whose identity open gives up.
	sockets, err := openSockets(cfg)
	if err != nil {
		return err
	}
	defer closeSockets(sockets)

	store, err := p.open(ctx, cfg, backend.Options{
		Server:  true,
		Buffers: buffers.NewPool(cfg.Memory.Buffers, bufferWait),
		Logger:  logger,
	}, mayCreate)
	if err != nil {
		return err
	}
	p.warn(advice(cfg)...)
	if os.Geteuid() == 0 {
		logger.Warn(logs.Warning, logs.Reason, "the server runs as root, since root owns the data directory: give it to a user of its own with: chown -R mailsrv: "+cfg.DataDir)
	}
	read, err := readCertificate(cfg)
	if err != nil {
		store.Close()
		return explain(err, cfg)
	}
	warnOfOwn(read, logger)
	s := &server{
		program: p, started: cfg, config: cfg, logger: logger, level: level,
		certificate: &listen.Certificate{}, store: store, reloads: make(chan chan<- control.Reloaded),
		admin: &admin.Admin{Directory: store, Store: store, Limit: cfg.Limit(), Logger: logger},
	}
	s.use(read)
	s.services = newServices(s, store)
	defer startHeap(os.Getenv("GOGC"))()
	return s.run(ctx, sockets, orders)
}

// advice returns what an operator should know about a configuration that is valid.
func advice(cfg *config.Config) []string {
	return append(exposed(cfg), cfg.Advice...)
}

// The settings of each package, from a configuration.

func deliverySettings(c *config.Config) delivery.Settings {
	return delivery.Settings{
		Limit:             c.Limit(),
		Defer:             c.Quota.WhenFull == config.Defer,
		RejectBareNewline: c.SMTP.BareNewline == config.Reject,
		MaxMessageSize:    c.SMTP.MaxMessageSize,
	}
}

func smtpSettings(c *config.Config) smtpd.Settings {
	return smtpd.Settings{
		MaxRecipients:    c.SMTP.MaxRecipients,
		MaxMessageSize:   c.SMTP.MaxMessageSize,
		CommandTimeout:   c.SMTP.CommandTimeout,
		DataIdleTimeout:  c.SMTP.DataIdleTimeout,
		MinRate:          c.SMTP.MinRate,
		HandshakeTimeout: handshakeTimeout,
	}
}

func smtpLimits(c *config.Config) listen.Limits {
	return listen.Limits{Connections: c.SMTP.MaxConnections, PerClient: c.SMTP.MaxConnectionsPerClient, Proxies: c.SMTP.ProxyProtocol, Trusted: c.SMTP.TrustedNetworks}
}

func pop3Settings(c *config.Config) pop3d.Settings {
	return pop3d.Settings{
		PlaintextLogin:    pop3d.PlaintextLogin(c.POP3.PlaintextLogin),
		IdleTimeout:       c.POP3.IdleTimeout,
		MinRate:           c.POP3.MinRate,
		LockTakeoverAfter: c.POP3.LockTakeoverAfter,
		LockWait:          c.POP3.LockWait,
		HandshakeTimeout:  handshakeTimeout,
		LoginDelay:        c.POP3.LoginDelay,
	}
}

func pop3Limits(c *config.Config) listen.Limits {
	return listen.Limits{Connections: c.POP3.MaxConnections, PerClient: c.POP3.MaxConnectionsPerClient, Proxies: c.POP3.ProxyProtocol}
}
