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

// renewal is how long before a certificate's end the log asks for a new one.
const renewal = 14 * 24 * time.Hour

// certificate is a pair that was read and can be used.
type certificate struct {
	pair *tls.Certificate
	file string
	own  bool  // self-signed
	made bool  // just now
	bad  error // what was wrong with the one in whose place it was made; nil: there was none
}

// readCertificate reads the pair that is configured, or a self-signed one, made in
// the data directory if it is not there or cannot be used.
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

// madeNew is what is said of a self-signed pair that cannot be used.
const madeNew = "the self-signed certificate cannot be used, and the server makes a new one: programs that have been told to trust the old one will ask again"

// warnOfNew says that a self-signed certificate took the place of one that could not
// be used, if it did.
func warnOfNew(c certificate, logger *slog.Logger) {
	if c.made && c.bad != nil {
		logger.Warn(logs.Warning, logs.Reason, madeNew, logs.File, c.file, logs.Error, c.bad.Error())
	}
}

// warnOfOwn says that a certificate is self-signed, if it is.
func warnOfOwn(c certificate, logger *slog.Logger) {
	text := "the certificate is self-signed, which mail programs will not trust: set tls.cert_file and tls.key_file"
	if c.made {
		text = "a self-signed certificate was made, which mail programs will not trust: set tls.cert_file and tls.key_file"
	}
	if c.own {
		logger.Warn(logs.Warning, logs.Reason, text, logs.File, c.file)
	}
}

// untilText writes the end of a certificate for a person.
func untilText(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

// endsSoon is what is said of a certificate that has to be renewed.
const endsSoon = "the certificate ends soon or has ended: renew it, then reload"

func (c certificate) endsSoon() bool { return time.Until(c.pair.Leaf.NotAfter) < renewal }

// warnOfEnd says that a certificate has to be renewed, if it has.
func warnOfEnd(c certificate, logger *slog.Logger) {
	if c.endsSoon() {
		logger.Warn(logs.Warning, logs.Reason, endsSoon, logs.File, c.file, logs.Expires, c.pair.Leaf.NotAfter)
	}
}

// lookEvery is how often the end of the certificate in use is looked at: a server runs
// for months, and a program that renews may fail in silence.
const lookEvery = 24 * time.Hour

// startRenewalWatch warns of the certificate in use, as the start does, every so often
// until stop is called, which waits for the end.
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
