package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"mailsrv/internal/admin"
	"mailsrv/internal/logs"
)

// expireEvery is how often mail is removed whose time is over.
const expireEvery = time.Hour

// startExpiry removes mail whose time is over, at once and then every so often,
// until stop is called, which waits for the end.
func startExpiry(a *admin.Admin, every time.Duration, logger *slog.Logger) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		clock := time.NewTicker(every)
		defer clock.Stop()
		for {
			if err := a.Expire(ctx, time.Now()); err != nil && ctx.Err() == nil {
				logger.Warn(logs.Warning, logs.Reason, "mail whose time is over was not removed; this is tried again later", logs.Error, err.Error())
			}
			select {
			case <-clock.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		running.Wait()
	}
}
