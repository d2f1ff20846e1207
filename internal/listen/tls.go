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

// Certificate is the key pair of all daemons. [Certificate.Load] and [Certificate.Use]
// replace it for connections that come later. All methods are safe for concurrent use.
type Certificate struct {
	current atomic.Pointer[tls.Certificate]
}

// Load reads a pair with [ReadPair] and uses it. If that fails, the pair in use stays and
// the error is ReadPair's.
func (c *Certificate) Load(certFile, keyFile string) error {
	pair, err := ReadPair(certFile, keyFile)
	if err == nil {
		c.Use(pair)
	}
	return err
}

// Use makes new connections use a pair that [ReadPair] returned.
func (c *Certificate) Use(pair *tls.Certificate) { c.current.Store(pair) }

// checkKeyMode refuses a key file that everybody can read. A group may read it, since
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

// Expires returns when the certificate in use expires. The zero time: there is none.
func (c *Certificate) Expires() time.Time {
	if pair := c.current.Load(); pair != nil && pair.Leaf != nil {
		return pair.Leaf.NotAfter
	}
	return time.Time{}
}

// TLSName returns the version and the cipher suite of a connection as the log writes them.
func TLSName(s tls.ConnectionState) string {
	return strings.ReplaceAll(tls.VersionName(s.Version), " ", "") + " " + tls.CipherSuiteName(s.CipherSuite)
}
