package listen

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// Certificate is the key pair of all daemons. Load and Use replace it while
// connections are being made.
type Certificate struct {
	current atomic.Pointer[tls.Certificate]
}

// Load reads a pair as ReadPair does, and uses it. The pair in use stays when it
// fails.
func (c *Certificate) Load(certFile, keyFile string) error {
	pair, err := ReadPair(certFile, keyFile)
	if err == nil {
		c.Use(pair)
	}
	return err
}

// Use has new connections served with a pair that ReadPair returned.
func (c *Certificate) Use(pair *tls.Certificate) { c.current.Store(pair) }

// checkKeyMode refuses a key that the world can read; a group may, since
// certificates are often shared by a group of daemons.
func checkKeyMode(keyFile string) error {
	info, err := os.Stat(keyFile)
	if err != nil {
		return fmt.Errorf("TLS key: %w", err)
	}
	if info.Mode().Perm()&0o007 != 0 {
		return fmt.Errorf("TLS key %s can be read by everybody: run chmod o-rwx %s", keyFile, keyFile)
	}
	return nil
}

// Config returns the TLS settings of a server: TLS 1.2 and later with Go's
// choice of suites (RFC 8314 section 4.1, RFC 9325), this certificate.
func (c *Certificate) Config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if pair := c.current.Load(); pair != nil {
				return pair, nil
			}
			return nil, errors.New("no certificate loaded")
		},
	}
}

// Expires returns when the pair in use ends to be valid.
func (c *Certificate) Expires() time.Time {
	if pair := c.current.Load(); pair != nil && pair.Leaf != nil {
		return pair.Leaf.NotAfter
	}
	return time.Time{}
}

// TLSName is the version and the suite of a connection, as the log has them.
func TLSName(s tls.ConnectionState) string {
	return strings.ReplaceAll(tls.VersionName(s.Version), " ", "") + " " + tls.CipherSuiteName(s.CipherSuite)
}
