package main

import (
	"context"
	"net"
	"strconv"
	"strings"

	"mailsrv/delivery"
	"mailsrv/internal/auth"
	"mailsrv/internal/backend"
	"mailsrv/internal/buffers"
	"mailsrv/internal/config"
	"mailsrv/internal/control"
	"mailsrv/internal/listen"
	"mailsrv/pop3d"
	"mailsrv/smtpd"
)

// service is a daemon as the server runs it. A new protocol adds a service, and its ports.
type service struct {
	group    *listen.Group
	serve    func(l net.Listener, security string) error
	apply    func(*config.Config) // its live keys
	shutdown func(context.Context) error
}

// ports are the addresses under a key of the configuration, and their protocol.
type ports struct {
	key, proto, security string
	addresses            []string
}

const (
	protoSMTP = "smtp"
	protoPOP3 = "pop3"

	startTLS    = "starttls"
	implicitTLS = "implicit"
)

func portsOf(c *config.Config) []ports {
	return []ports{
		{"smtp.listen", protoSMTP, startTLS, c.SMTP.Listen},
		{"pop3.listen", protoPOP3, startTLS, c.POP3.Listen},
		{"pop3.listen_tls", protoPOP3, implicitTLS, c.POP3.ListenTLS},
	}
}

// newServices makes the daemons of s.
func newServices(s *server, store backend.Store) []service {
	return []service{newSMTP(s, store), newPOP3(s, store)}
}

func newSMTP(s *server, store backend.Store) service {
	c := s.config
	agent := delivery.New(delivery.Options{
		Store: store, Directory: store, Hostname: c.Hostname, Logger: s.logger,
		Settings: deliverySettings(c), MaxStaged: c.SMTP.MaxStaged,
	})
	group := listen.NewGroup(protoSMTP, "421 4.7.0 "+c.Hostname+" too many connections, try again later\r\n", smtpLimits(c), s.logger)
	d := smtpd.New(smtpd.Config{
		Hostname: c.Hostname, Delivery: smtpd.Through(agent), Group: group,
		TLS: s.certificate.Config(), Logger: s.logger, Settings: smtpSettings(c),
	})
	return service{
		group: group,
		serve: func(l net.Listener, _ string) error { return d.Serve(l) },
		apply: func(c *config.Config) {
			agent.SetSettings(deliverySettings(c))
			d.SetSettings(smtpSettings(c))
			group.SetLimits(smtpLimits(c))
		},
		shutdown: d.Shutdown,
	}
}

func newPOP3(s *server, store backend.Store) service {
	c := s.config
	group := listen.NewGroup(protoPOP3, "-ERR [SYS/TEMP] too many connections\r\n", pop3Limits(c), s.logger)
	d := pop3d.New(pop3d.Config{
		Hostname: c.Hostname, Store: store, Directory: store,
		Auth: auth.New(store, auth.Options{Logger: s.logger}), Group: group,
		TLS: s.certificate.Config(), Logger: s.logger, Settings: pop3Settings(c),
		// A total of its own: sessions on large maildrops hold theirs for minutes, and no
		// message must wait for that.
		Memory: buffers.NewTotal(max(2*c.Memory.Buffers, 32<<20), 0, bufferWait),
	})
	return service{
		group: group,
		serve: func(l net.Listener, security string) error { return d.Serve(l, security == implicitTLS) },
		apply: func(c *config.Config) {
			d.SetSettings(pop3Settings(c))
			group.SetLimits(pop3Limits(c))
		},
		shutdown: d.Shutdown,
	}
}

// service returns the daemon of a protocol.
func (s *server) service(proto string) service {
	for _, one := range s.services {
		if one.group.Name() == proto {
			return one
		}
	}
	panic("mailsrv: nobody speaks " + proto) // a port without a daemon
}

// Reload implements control.Handler. The goroutine that runs the server does the reload.
func (s *server) Reload(ctx context.Context) control.Reloaded {
	answer := make(chan control.Reloaded, 1)
	select {
	case s.reloads <- answer:
		return <-answer
	case <-ctx.Done():
		return control.Reloaded{Error: "the server is stopping"}
	}
}

// Sessions implements control.Handler.
func (s *server) Sessions() []control.Session {
	all := []control.Session{}
	for _, one := range s.services {
		for _, n := range one.group.Sessions() {
			all = append(all, control.Session{
				ID: one.group.Name() + "-" + strconv.FormatUint(n.ID, 10), Proto: one.group.Name(),
				Client: n.Client, Who: n.Who, TLS: n.TLS, Since: n.Since.UTC(), Waiting: n.Waiting,
			})
		}
	}
	return all
}

// EndSession implements control.Handler.
func (s *server) EndSession(id string) bool {
	proto, number, _ := strings.Cut(id, "-")
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return false
	}
	for _, one := range s.services {
		if one.group.Name() == proto {
			return one.group.End(n)
		}
	}
	return false
}
