package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"mailsrv/delivery"
	"mailsrv/internal/admin"
	"mailsrv/internal/config"
	"mailsrv/internal/listen"
	"mailsrv/internal/logs"
	"mailsrv/pop3d"
	"mailsrv/smtpd"
	"mailsrv/storage/sqlite"
)

// server is the assembled parts while they run.
type server struct {
	program *program
	started *config.Config // as at the start: what restart-only keys are still at
	config  *config.Config // as last applied
	logger  *slog.Logger
	level   *slog.LevelVar

	certificate *listen.Certificate
	store       *sqlite.Store
	admin       *admin.Admin
	agent       *delivery.Agent
	smtp        *smtpd.Server
	smtpGroup   *listen.Group
	pop3        *pop3d.Server
	pop3Group   *listen.Group
	stopExpiry  func()
}

// run serves the sockets until ctx ends, an order to stop comes, or a socket
// fails; then it drains and closes the store.
func (s *server) run(ctx context.Context, sockets []socket, orders <-chan os.Signal) error {
	s.stopExpiry = startExpiry(s.admin, expireEvery, s.logger)
	failed := make(chan error, len(sockets))
	for _, k := range sockets {
		s.logger.Info(logs.Start, logs.Proto, k.proto, logs.Address, k.Addr().String(), logs.TLS, k.security)
		go func() {
			var err error
			if k.proto == protoSMTP {
				err = s.smtp.Serve(k.Listener)
			} else {
				err = s.pop3.Serve(k.Listener, k.security == implicitTLS)
			}
			if err != nil {
				failed <- fmt.Errorf("%s %s: %w", k.key, k.Addr(), err)
			}
		}()
	}
	s.logger.Info(logs.Ready, logs.Hostname, s.config.Hostname, logs.DataDir, s.config.DataDir,
		logs.Config, s.config.File, logs.Version, version())
	s.notify(daemon.SdNotifyReady)

	for {
		select {
		case <-ctx.Done():
			return s.stop(orders, nil)
		case err := <-failed:
			return s.stop(orders, err)
		case <-s.store.Failed():
			return s.stop(orders, errors.New("the disk has failed to sync the database: look at the disk, and start the server again, which finds all mail"))
		case order := <-orders:
			if order != syscall.SIGHUP {
				return s.stop(orders, nil)
			}
			s.reload()
		}
	}
}

// stop drains both daemons at once and closes the store. A second order to stop
// ends it without waiting: what was accepted is on the disk.
func (s *server) stop(orders <-chan os.Signal, cause error) error {
	s.notify(daemon.SdNotifyStopping)
	begun := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), s.config.ShutdownTimeout)
	defer cancel()

	ended := make(chan error, 1)
	go func() {
		var smtpErr, pop3Err error
		var all sync.WaitGroup
		all.Go(func() { smtpErr = s.smtp.Shutdown(ctx) })
		all.Go(func() { pop3Err = s.pop3.Shutdown(ctx) })
		all.Go(s.stopExpiry)
		all.Wait()
		if errors.Join(smtpErr, pop3Err) != nil {
			s.logger.Warn(logs.Warning, logs.Reason, "sessions were cut off at the end of shutdown_timeout")
		}
		ended <- s.store.Close()
	}()
	for {
		select {
		case err := <-ended:
			s.logger.Info(logs.Stop, logs.Duration, time.Since(begun).Round(time.Millisecond).String())
			if err != nil {
				err = fmt.Errorf("close the database: %w", err)
			}
			return errors.Join(cause, err)
		case order := <-orders:
			if order != syscall.SIGHUP {
				return errors.New("stopped at once by a second signal")
			}
		}
	}
}

// reload reads certificates and configuration again and applies what can be
// applied. Whatever is bad leaves what is in use.
func (s *server) reload() {
	s.notify(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
	defer s.notify(daemon.SdNotifyReady)

	// The file found at the start is the one read again: the search might find
	// another since the identity changed.
	file := s.started.File
	if file == "" {
		file = s.program.configFile
	}
	next, err := s.program.read(file)
	if err != nil {
		s.logger.Error(logs.Failed, logs.Reason, "the configuration was not reloaded and stays as it was", logs.Error, err.Error())
		next = s.config // a renewed certificate is loaded all the same
	} else {
		s.program.warn(append(next.Warnings, advice(next)...)...)
	}
	var applied, waiting []string
	for _, change := range config.Changes(s.config, next) {
		if !change.Restart {
			applied = append(applied, change.Key)
		}
	}
	for _, change := range config.Changes(s.started, next) {
		if change.Restart {
			waiting = append(waiting, change.Key)
		}
	}
	s.apply(next)
	if len(waiting) > 0 {
		s.logger.Warn(logs.Warning, logs.Reason, "these keys changed and need a restart: "+strings.Join(waiting, ", "))
	}
	if err == nil {
		s.logger.Info(logs.Reload, logs.Config, next.File, logs.Changed, strings.Join(applied, ", "),
			logs.Expires, s.certificate.Expires(), logs.Goroutines, runtime.NumGoroutine())
	}
}

// apply hands the live keys of a configuration to the parts.
func (s *server) apply(next *config.Config) {
	withOldPlace := *next
	withOldPlace.DataDir, withOldPlace.Hostname = s.started.DataDir, s.started.Hostname
	if err := loadCertificate(s.certificate, &withOldPlace, s.logger); err != nil {
		s.logger.Error(logs.Failed, logs.Reason, "the certificate was not reloaded and stays as it was", logs.Error, err.Error())
	}
	s.level.Set(next.Log.Level)
	s.agent.SetSettings(deliverySettings(next))
	s.smtp.SetSettings(smtpSettings(next))
	s.smtpGroup.SetLimits(smtpLimits(next))
	s.pop3.SetSettings(pop3Settings(next))
	s.pop3Group.SetLimits(pop3Limits(next))
	s.config = next
}

// notify tells systemd, if it asked to be told.
func (s *server) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		s.logger.Warn(logs.Warning, logs.Reason, "systemd cannot be notified", logs.Error, err.Error())
	}
}
