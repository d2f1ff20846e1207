package main

import (
	"context"
	"crypto/tls"
	"log/slog"
	"sync"
	"time"

	"mailsrv/internal/config"
	"mailsrv/internal/listen"
	"mailsrv/internal/logs"
)

// renewal is how long before a certificate expires the log asks for a new one.
const renewal = 14 * 24 * time.Hour

// certificate is a pair that was read and can be used.
type certificate struct {
	pair *tls.Certificate
	file string
	own  bool  // self-signed
	made bool  // just now
	bad  error // what was wrong with the pair that it replaces; nil: there was none
}

// readCertificate reads the configured pair, or else a self-signed one in the data
// directory, which it makes if there is none or it cannot be used.
func readCertificate(cfg *config.Config) (c certificate, err error) {
	keyFile := cfg.TLS.KeyFile
	if c.file = cfg.TLS.CertFile; c.file == "" {
		c.own = true
		c.bad = listen.BadSelfSigned(cfg.DataDir)
		if c.file, keyFile, c.made, err = listen.SelfSigned(cfg.DataDir, cfg.Hostname); err != nil {
			return c, err
		}
	}
	c.pair, err = listen.ReadPair(c.file, keyFile)
	return c, err
}

// madeNew is the warning about a self-signed pair that cannot be used.
const madeNew = "the self-signed certificate cannot be used, and the server makes a new one: programs that have been told to trust the old one will ask again"

// warnOfNew logs if a self-signed certificate replaced one that could not be used.
func warnOfNew(c certificate, logger *slog.Logger) {
	if c.made && c.bad != nil {
		logger.Warn(logs.Warning, logs.Reason, madeNew, logs.File, c.file, logs.Error, c.bad.Error())
	}
}

// warnOfOwn logs if a certificate is self-signed.
func warnOfOwn(c certificate, logger *slog.Logger) {
	text := "the certificate is self-signed, which mail programs will not trust: set tls.cert_file and tls.key_file"
	if c.made {
		text = "a self-signed certificate was made, which mail programs will not trust: set tls.cert_file and tls.key_file"
	}
	if c.own {
		logger.Warn(logs.Warning, logs.Reason, text, logs.File, c.file)
	}
}

// untilText returns when a certificate expires, as text for people.
func untilText(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

// endsSoon is the warning about a certificate that has to be renewed.
const endsSoon = "the certificate ends soon or has ended: renew it, then reload"

func (c certificate) endsSoon() bool { return time.Until(c.pair.Leaf.NotAfter) < renewal }

// warnOfEnd logs if a certificate has to be renewed.
func warnOfEnd(c certificate, logger *slog.Logger) {
	if c.endsSoon() {
		logger.Warn(logs.Warning, logs.Reason, endsSoon, logs.File, c.file, logs.Expires, c.pair.Leaf.NotAfter)
	}
}

// lookEvery is how often the expiry of the certificate in use is checked: a server runs for
// months, and a program that renews certificates may fail silently.
const lookEvery = 24 * time.Hour

// startRenewalWatch checks the certificate in use at the interval every, and warns as at
// the start. stop ends that and waits until it has ended.
func startRenewalWatch(inUse func() *certificate, every time.Duration, logger *slog.Logger) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		clock := time.NewTicker(every)
		defer clock.Stop()
		for {
			select {
			case <-clock.C:
				warnOfEnd(*inUse(), logger)
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
