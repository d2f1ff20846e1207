package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"mailsrv/internal/admin"
	"mailsrv/internal/backend"
	"mailsrv/internal/config"
	"mailsrv/internal/control"
	"mailsrv/internal/listen"
	"mailsrv/internal/logs"
)

// server is the assembled parts while they run.
type server struct {
	program *program
	started *config.Config // as at the start: keys that need a restart still have these values
	config  *config.Config // as last applied
	logger  *slog.Logger
	level   *slog.LevelVar

	certificate *listen.Certificate
	inUse       atomic.Pointer[certificate] // what certificate serves
	store       backend.Store
	admin       *admin.Admin
	services    []service
	stopExpiry  func()
	stopWatch   func()
	control     *control.Server // nil: there is none
	reloads     chan chan<- control.Reloaded
}

// use makes new connections use a pair that was read, and logs warnings about it.
func (s *server) use(read certificate) {
	s.certificate.Use(read.pair)
	s.inUse.Store(&read)
	warnOfNew(read, s.logger)
	warnOfEnd(read, s.logger)
}

// run serves the sockets until ctx ends, an order to stop comes, or a socket fails. Then it
// drains and closes the store.
func (s *server) run(ctx context.Context, sockets []socket, orders orders) error {
	s.stopExpiry = startExpiry(s.admin, expireEvery, s.logger)
	s.stopWatch = startRenewalWatch(s.inUse.Load, lookEvery, s.logger)
	failed := make(chan error, len(sockets))
	for _, k := range sockets {
		s.logger.Info(logs.Start, logs.Proto, k.proto, logs.Address, k.Addr().String(), logs.TLS, k.security)
		go func() {
			if err := s.service(k.proto).serve(k.Listener, k.security); err != nil {
				failed <- fmt.Errorf("%s %s: %w", k.key, k.Addr(), err)
			}
		}()
	}
	var err error
	if s.control, err = control.Open(s.config.DataDir, s, s.logger); err != nil {
		s.logger.Warn(logs.Warning, logs.Reason, "the control socket cannot be made: mailsrv reload and sessions will not reach this server, SIGHUP does", logs.Error, err.Error())
	}
	s.logger.Info(logs.Ready, logs.Hostname, s.config.Hostname, logs.DataDir, s.config.DataDir,
		logs.Config, s.config.File, logs.Version, version())
	s.notify(daemon.SdNotifyReady)

	var disk <-chan struct{}
	if f, ok := s.store.(backend.Failer); ok {
		disk = f.Failed()
	}
	for {
		select { // a server that is to stop need not reload first
		case <-orders.stop:
			return s.stop(orders, nil)
		default:
		}
		select {
		case <-ctx.Done():
			return s.stop(orders, nil)
		case err := <-failed:
			return s.stop(orders, err)
		case <-disk:
			return s.stop(orders, errors.New("the disk has failed to sync the database: look at the disk, and start the server again, which finds all mail"))
		case answer := <-s.reloads:
			answer <- s.reload()
		case <-orders.stop:
			return s.stop(orders, nil)
		case <-orders.hangUp:
			s.reload()
		}
	}
}

// stop drains all daemons at the same time and closes the store. A second order to stop
// ends it without waiting: accepted mail is on the disk.
func (s *server) stop(orders orders, cause error) error {
	s.notify(daemon.SdNotifyStopping)
	s.control.Close()
	begun := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), s.config.ShutdownTimeout)
	defer cancel()

	ended := make(chan error, 1)
	go func() {
		var all sync.WaitGroup
		failed := make([]error, len(s.services))
		for i, one := range s.services {
			all.Go(func() { failed[i] = one.shutdown(ctx) })
		}
		all.Go(s.stopExpiry)
		all.Go(s.stopWatch)
		all.Wait()
		if errors.Join(failed...) != nil {
			s.logger.Warn(logs.Warning, logs.Reason, "sessions were cut off at the end of shutdown_timeout")
		}
		ended <- s.store.Close()
	}()
	select {
	case err := <-ended:
		s.logger.Info(logs.Stop, logs.Duration, time.Since(begun).Round(time.Millisecond).String())
		if err != nil {
			err = fmt.Errorf("close the database: %w", err)
		}
		return errors.Join(cause, err)
	case <-orders.stop:
		return errors.New("stopped at once by a second signal")
	}
}

// notify tells systemd the state, if systemd asked for it.
func (s *server) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		s.logger.Warn(logs.Warning, logs.Reason, "systemd cannot be notified", logs.Error, err.Error())
	}
}
