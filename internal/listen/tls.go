package listen

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
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

// SelfSignedNames are the files that SelfSigned makes: certificate and key.
var SelfSignedNames = [2]string{"selfsigned.crt", "selfsigned.key"}

// SelfSigned returns the files of a self-signed pair for host in dir, making
// them when they are missing, and whether it did. Senders use STARTTLS without
// judging the certificate; people who fetch mail will want a real one.
func SelfSigned(dir, host string) (certFile, keyFile string, made bool, err error) {
	certFile, keyFile = filepath.Join(dir, SelfSignedNames[0]), filepath.Join(dir, SelfSignedNames[1])
	_, certErr := os.Stat(certFile)
	_, keyErr := os.Stat(keyFile)
	if certErr == nil && keyErr == nil {
		return certFile, keyFile, false, nil
	}
	for _, err := range []error{certErr, keyErr} {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", "", false, err
		}
	}
	certPEM, keyPEM, err := selfSignedPair(host)
	if err != nil {
		return "", "", false, fmt.Errorf("make a self-signed certificate: %w", err)
	}
	if err := os.WriteFile(keyFile, keyPEM, 0o600); err != nil {
		return "", "", false, err
	}
	if err := os.WriteFile(certFile, certPEM, 0o644); err != nil {
		return "", "", false, err
	}
	return certFile, keyFile, true, nil
}

func selfSignedPair(host string) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: host},
		DNSNames:     []string{host},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(10, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	certPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	return certPEM, keyPEM, nil
}
