package main

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mailsrv/internal/listen"
	"mailsrv/internal/logs"
)

// The end of the certificate in use is looked at every day, not at the start and at a
// reload alone.
func TestEndOfCertificateIsLookedAtDaily(t *testing.T) {
	const day = 24 * time.Hour
	synctest.Test(t, func(t *testing.T) {
		var log logs.Recorder
		var inUse atomic.Pointer[certificate]
		validFor := func(file string, d time.Duration) {
			leaf := &x509.Certificate{NotAfter: time.Now().Add(d)}
			inUse.Store(&certificate{pair: &tls.Certificate{Leaf: leaf}, file: file})
		}
		warned := 0
		expect := func(n int, when string) {
			t.Helper()
			synctest.Wait()
			if got := strings.Count(log.String(), endsSoon) - warned; got != n {
				t.Errorf("%s: %d warnings, want %d: %s", when, got, n, log.String())
			}
			warned = strings.Count(log.String(), endsSoon)
		}
		validFor("one.pem", 20*day+time.Minute)
		stop := startRenewalWatch(inUse.Load, lookEvery, slog.New(slog.NewTextHandler(&log, nil)))
		time.Sleep(6 * day)
		expect(0, "fourteen days before the end")
		time.Sleep(3 * day)
		expect(3, "three days later")
		if line := log.String(); !strings.Contains(line, "level=WARN") || !strings.Contains(line, "file=one.pem") || !strings.Contains(line, "expires=") {
			t.Errorf("told as %s", line)
		}
		validFor("two.pem", 90*day)
		time.Sleep(30 * day)
		expect(0, "renewed")
		validFor("three.pem", -day)
		time.Sleep(2 * day)
		expect(2, "ended")
		stop()
		time.Sleep(5 * day)
		expect(0, "stopped")
	})
}

// A self-signed pair that a full disk left empty stops no start: it is made new, and
// said so. One that the administrator has configured is left as it is, in the data
// directory too.
func TestStartMendsItsOwnPairAlone(t *testing.T) {
	h := newHouse(t)
	h.do("", "domain", "add", "me.com")
	own := filepath.Join(h.dir, listen.SelfSignedNames[0])
	key := filepath.Join(h.dir, listen.SelfSignedNames[1])
	for _, name := range []string{own, key} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h.configure("tls: {cert_file: " + own + ", key_file: " + key + "}\n")
	if _, stderr, code := h.run("", "serve"); code != exitFailed || !strings.Contains(stderr, "mailsrv: TLS certificate "+own+" is empty") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	if text, err := os.ReadFile(own); err != nil || len(text) > 0 {
		t.Errorf("a configured pair was made: %q, %v", text, err)
	}

	h.environ = nil
	r := h.serve()
	if !r.logged("level=WARN", "the server makes a new one", "file="+own, "is empty") {
		t.Error("nothing was said")
	}
	if _, err := listen.ReadPair(own, key); err != nil {
		t.Error(err)
	}
}
