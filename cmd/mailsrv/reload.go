package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"mailsrv/internal/backend"
	"mailsrv/internal/config"
	"mailsrv/internal/control"
	"mailsrv/internal/logs"
)

func (p *program) reloadCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "reload",
		Short: "Let the running server read configuration and certificate again",
		Long: `Asks the server that runs on the data directory to read its configuration and
certificate again. All of it is applied or, where anything is wrong, nothing:
then the command says why and exits with 1. Keys that need a restart are named.
"mailsrv config check" finds most faults beforehand. For root and the user who
runs the server; SIGHUP asks for the same without an answer.`,
		Example: "  mailsrv config check\n  mailsrv reload",
	}
	return p.command(c, exactly(), func(context.Context, []string) error {
		cfg, err := p.load()
		if err != nil {
			return err
		}
		reply, err := control.Reload(cfg.DataDir)
		switch {
		case err != nil:
			return controlError(err, cfg)
		case reply.Error != "":
			return errors.New(reply.Error)
		case len(reply.Changed) == 0:
			p.printf("Reloaded; no key that a reload applies has changed.\n")
		default:
			p.printf("Reloaded: %s.\n", strings.Join(reply.Changed, ", "))
		}
		if !reply.Expires.IsZero() {
			p.printf("The certificate in use is valid until %s.\n", untilText(reply.Expires))
		}
		if len(reply.Restart) > 0 {
			p.printf("These keys changed and need a restart: %s.\n", strings.Join(reply.Restart, ", "))
		}
		return nil
	})
}

// controlError returns an error that tells what to do if the running server could not be
// asked.
func controlError(err error, cfg *config.Config) error {
	var refused control.Refused
	switch {
	case errors.Is(err, control.ErrNoServer):
		return fmt.Errorf("no server runs here: start it with: mailsrv serve, or systemctl start mailsrv (%s)", where(cfg))
	case errors.As(err, &refused):
		return err
	}
	return storeError(err, cfg)
}

// reload reads configuration and certificate again, and applies all that can be applied
// while the server runs. If anything is wrong, it applies nothing.
func (s *server) reload() control.Reloaded {
	s.notify(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
	defer s.notify(daemon.SdNotifyReady)

	next, certificate, err := s.readAgain()
	if err != nil {
		s.logger.Error(logs.Failed, logs.Reason, "nothing was reloaded, and all stays as it was", logs.Error, err.Error())
		return control.Reloaded{Error: "nothing was reloaded: " + err.Error()}
	}
	s.program.warn(append(next.Warnings, advice(next)...)...)
	var reply control.Reloaded
	for _, change := range config.Changes(s.config, next) {
		if !change.Restart {
			reply.Changed = append(reply.Changed, change.Key)
		}
	}
	for _, change := range config.Changes(s.started, next) {
		if change.Restart {
			reply.Restart = append(reply.Restart, change.Key)
		}
	}
	s.apply(next, certificate)
	reply.Expires = s.certificate.Expires()
	if len(reply.Restart) > 0 {
		s.logger.Warn(logs.Warning, logs.Reason, "these keys changed and need a restart: "+strings.Join(reply.Restart, ", "))
	}
	s.logger.Info(logs.Reload, logs.Config, next.File, logs.Changed, strings.Join(reply.Changed, ", "),
		logs.Expires, s.certificate.Expires(), logs.Goroutines, runtime.NumGoroutine())
	return reply
}

// readAgain reads all that a reload applies.
func (s *server) readAgain() (*config.Config, certificate, error) {
	// The file found at the start is read again: since the identity changed, the search
	// might find another.
	file := s.started.File
	if file == "" {
		file = s.program.configFile
	}
	next, err := s.program.read(file)
	if err != nil {
		return nil, certificate{}, err
	}
	withOldPlace := *next
	withOldPlace.DataDir, withOldPlace.Hostname = s.started.DataDir, s.started.Hostname
	read, err := readCertificate(&withOldPlace)
	return next, read, err
}

// apply sets the keys of a configuration that can change while the server runs.
func (s *server) apply(next *config.Config, read certificate) {
	s.use(read)
	s.level.Set(next.Log.Level)
	if k, ok := s.store.(backend.Keeper); ok {
		k.KeepAside(next.Limit(), next.Storage.MaxAside)
	}
	for _, one := range s.services {
		one.apply(next)
	}
	s.config = next
}
