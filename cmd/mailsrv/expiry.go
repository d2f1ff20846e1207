package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"mailsrv/internal/admin"
	"mailsrv/internal/logs"
	"mailsrv/storage"
)

// expireEvery is how often expired mail is removed.
const expireEvery = time.Hour

// startExpiry removes expired mail, at once and then at the interval every. stop ends that
// and waits until it has ended.
func startExpiry(a *admin.Admin, every time.Duration, logger *slog.Logger) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		clock := time.NewTicker(every)
		defer clock.Stop()
		for last := (time.Time{}); ; {
			now, ran := time.Now(), time.Duration(0)
			if !last.IsZero() {
				ran = now.Sub(last) // monotonic, whatever the clock was set to
			}
			last = now
			err := a.Expire(ctx, now, ran)
			switch {
			case err == nil || ctx.Err() != nil:
			case errors.Is(err, storage.ErrLeap):
				logger.Warn(logs.Warning, logs.Reason, "the clock may be wrong", logs.Error, err)
			default:
				logger.Warn(logs.Warning, logs.Reason, "mail whose time is over was not removed; this is tried again later", logs.Error, err)
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
