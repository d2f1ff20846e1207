package listen_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
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

// Whatever a full disk or a cut left of the pair, it is made new, and says why.
func TestUnreadableSelfSignedIsMadeNew(t *testing.T) {
	for i, name := range listen.SelfSignedNames {
		for what, half := range map[string]func([]byte) []byte{
			"empty":   func([]byte) []byte { return nil },
			"half":    func(text []byte) []byte { return text[:len(text)/2] },
			"zeros":   func(text []byte) []byte { return make([]byte, len(text)) },
			"another": func([]byte) []byte { return read(t, selfSignedFiles(t)[i]) },
		} {
			dir := t.TempDir()
			selfSigned(t, dir, "mail.me.com")
			broken := filepath.Join(dir, name)
			if err := os.WriteFile(broken, half(read(t, broken)), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := listen.BadSelfSigned(dir); err == nil || !strings.Contains(err.Error(), broken) {
				t.Errorf("%s %s: told as %v", what, name, err)
			}
			certFile, keyFile, made := selfSigned(t, dir, "mail.me.com")
			var c listen.Certificate
			if err := c.Load(certFile, keyFile); err != nil || !made {
				t.Errorf("%s %s: made %t, %v", what, name, made, err)
			}
			if err := listen.BadSelfSigned(dir); err != nil {
				t.Errorf("%s %s: made, and told as %v", what, name, err)
			}
			if left, err := filepath.Glob(dir + "/*"); err != nil || len(left) != 2 {
				t.Errorf("%s %s: left %v", what, name, left)
			}
			if info, err := os.Stat(keyFile); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s %s: key %v, %v", what, name, info.Mode(), err)
			}
		}
	}
}

// selfSignedFiles are those of another pair.
func selfSignedFiles(t *testing.T) [2]string {
	certFile, keyFile, _ := selfSigned(t, t.TempDir(), "other.example")
	return [2]string{certFile, keyFile}
}

// What a new pair would not mend, or what the administrator put there, stays as it is,
// and so does what lies behind a link.
func TestSelfSignedReplacesNothingOfOthers(t *testing.T) {
	ca := certify(t, "authority", nil)
	leaf := certify(t, "mail.me.com", &ca)
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8(t, leaf.key)})
	for what, row := range map[string]struct {
		cert, key []byte
		mode      os.FileMode
		want      string // of the error
	}{
		"signed by an authority, key empty":     {leaf.pem(), nil, 0o600, "is empty"},
		"signed by an authority, key missing":   {leaf.pem(), nil, 0, "no such file"},
		"key of another":                        {leaf.pem(), read(t, selfSignedFiles(t)[1]), 0o600, "does not belong"},
		"key that everybody can read":           {leaf.pem(), key, 0o644, "chmod o-rwx"},
		"self-signed, which everybody can read": {ca.pem(), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8(t, ca.key)}), 0o644, "chmod o-rwx"},
	} {
		dir := t.TempDir()
		certFile, keyFile := filepath.Join(dir, listen.SelfSignedNames[0]), filepath.Join(dir, listen.SelfSignedNames[1])
		if err := os.WriteFile(certFile, row.cert, 0o644); err != nil {
			t.Fatal(err)
		}
		if row.mode != 0 {
			if err := os.WriteFile(keyFile, row.key, row.mode); err != nil {
				t.Fatal(err)
			}
		}
		_, _, made, err := listen.SelfSigned(dir, "mail.me.com")
		if made || err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: made %t, %v", what, made, err)
		}
		if err := listen.BadSelfSigned(dir); err != nil {
			t.Errorf("%s: is to be made new: %v", what, err)
		}
		if !bytes.Equal(read(t, certFile), row.cert) || row.mode != 0 && !bytes.Equal(read(t, keyFile), row.key) {
			t.Errorf("%s: was replaced", what)
		}
	}

	dir, behind := t.TempDir(), filepath.Join(t.TempDir(), "cert.pem")
	if err := os.WriteFile(behind, []byte("not yet"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(behind, filepath.Join(dir, listen.SelfSignedNames[0])); err != nil {
		t.Fatal(err)
	}
	if _, _, made := selfSigned(t, dir, "mail.me.com"); !made || string(read(t, behind)) != "not yet" {
		t.Errorf("behind a link stands %q", read(t, behind))
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
