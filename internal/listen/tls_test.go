package listen_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailsrv/internal/listen"
)

func selfSigned(t *testing.T, dir, host string) (certFile, keyFile string, made bool) {
	t.Helper()
	certFile, keyFile, made, err := listen.SelfSigned(dir, host)
	if err != nil {
		t.Fatal(err)
	}
	return certFile, keyFile, made
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// handshake returns the certificate that a client is shown.
func handshake(t *testing.T, c *listen.Certificate, client *tls.Config) (*x509.Certificate, error) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	a.SetDeadline(time.Now().Add(timeout))
	b.SetDeadline(time.Now().Add(timeout))
	go tls.Server(a, c.Config()).Handshake()
	client.InsecureSkipVerify = true
	conn := tls.Client(b, client)
	if err := conn.Handshake(); err != nil {
		return nil, err
	}
	return conn.ConnectionState().PeerCertificates[0], nil
}

func TestSelfSignedIsMadeOnce(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile, made := selfSigned(t, dir, "mail.me.com")
	if !made {
		t.Error("not made")
	}
	if filepath.Dir(certFile) != dir || filepath.Dir(keyFile) != dir {
		t.Errorf("made %s and %s", certFile, keyFile)
	}
	info, err := os.Stat(keyFile)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key: %v, %v", info.Mode(), err)
	}
	cert, key := read(t, certFile), read(t, keyFile)
	if _, _, made := selfSigned(t, dir, "mail.me.com"); made {
		t.Error("made twice")
	}
	if !bytes.Equal(cert, read(t, certFile)) || !bytes.Equal(key, read(t, keyFile)) {
		t.Error("the pair was replaced")
	}

	var c listen.Certificate
	if err := c.Load(certFile, keyFile); err != nil {
		t.Fatal(err)
	}
	shown, err := handshake(t, &c, &tls.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := shown.VerifyHostname("mail.me.com"); err != nil {
		t.Error(err)
	}
	if now := time.Now(); now.Before(shown.NotBefore) || now.AddDate(9, 0, 0).After(shown.NotAfter) {
		t.Errorf("valid from %v until %v", shown.NotBefore, shown.NotAfter)
	}
}

// A start that was cut off between the two files leaves one: a new pair.
func TestSelfSignedMendsHalfAPair(t *testing.T) {
	for _, missing := range []string{"selfsigned.crt", "selfsigned.key"} {
		dir := t.TempDir()
		selfSigned(t, dir, "mail.me.com")
		if err := os.Remove(filepath.Join(dir, missing)); err != nil {
			t.Fatal(err)
		}
		certFile, keyFile, made := selfSigned(t, dir, "mail.me.com")
		var c listen.Certificate
		if err := c.Load(certFile, keyFile); err != nil || !made {
			t.Errorf("without %s: made %t, %v", missing, made, err)
		}
	}
}

func TestSelfSignedNeedsItsFolder(t *testing.T) {
	if _, _, made, err := listen.SelfSigned(filepath.Join(t.TempDir(), "missing"), "mail.me.com"); err == nil || made {
		t.Errorf("made %t, %v", made, err)
	}
}

func TestKeyMode(t *testing.T) {
	certFile, keyFile, _ := selfSigned(t, t.TempDir(), "mail.me.com")
	for mode, ok := range map[os.FileMode]bool{
		0o600: true, 0o400: true, 0o640: true, 0o660: true,
		0o644: false, 0o604: false, 0o602: false, 0o601: false, 0o666: false,
	} {
		if err := os.Chmod(keyFile, mode); err != nil {
			t.Fatal(err)
		}
		var c listen.Certificate
		err := c.Load(certFile, keyFile)
		if (err == nil) != ok {
			t.Errorf("%o: %v", mode, err)
		}
		if err != nil && !strings.Contains(err.Error(), "chmod o-rwx "+keyFile) {
			t.Errorf("%o: %v does not say what to do", mode, err)
		}
	}
}

func TestReload(t *testing.T) {
	oneCert, oneKey, _ := selfSigned(t, t.TempDir(), "one.me.com")
	twoCert, twoKey, _ := selfSigned(t, t.TempDir(), "two.me.com")
	var c listen.Certificate
	if _, err := handshake(t, &c, &tls.Config{}); err == nil {
		t.Error("a handshake without a certificate")
	}

	load := func(cert, key string, ok bool, shows string) {
		t.Helper()
		if err := c.Load(cert, key); (err == nil) != ok {
			t.Errorf("load: %v", err)
		}
		shown, err := handshake(t, &c, &tls.Config{})
		if err != nil || shown.Subject.CommonName != shows {
			t.Fatalf("shown %v, %v", shown, err)
		}
	}
	load(oneCert, oneKey, true, "one.me.com")
	load(twoCert, twoKey, true, "two.me.com")
	load(oneCert, twoKey, false, "two.me.com") // do not belong together: the pair in use stays
	load(oneCert, oneKey+".missing", false, "two.me.com")
	load(oneCert+".missing", oneKey, false, "two.me.com")
	if err := os.WriteFile(oneCert, []byte("half written"), 0o644); err != nil {
		t.Fatal(err)
	}
	load(oneCert, oneKey, false, "two.me.com")
}

// RFC 8996: nothing older than TLS 1.2.
func TestVersions(t *testing.T) {
	var c listen.Certificate
	certFile, keyFile, _ := selfSigned(t, t.TempDir(), "mail.me.com")
	if err := c.Load(certFile, keyFile); err != nil {
		t.Fatal(err)
	}
	for version, ok := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		_, err := handshake(t, &c, &tls.Config{MinVersion: version, MaxVersion: version})
		if (err == nil) != ok {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
	}
}
