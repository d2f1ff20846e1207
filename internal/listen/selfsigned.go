package listen

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// SelfSignedNames are the names of the files that [SelfSigned] makes: certificate and key.
var SelfSignedNames = [2]string{"selfsigned.crt", "selfsigned.key"}

// SelfSigned returns the files of a self-signed pair for host in dir, and whether it made
// them. It makes them where they are missing or cannot be used, as after a full disk (see
// [BadSelfSigned]). They are written whole or not at all.
//
// A certificate of these names that somebody else signed is the administrator's: it is
// never replaced. If it cannot be used, the error is that of [ReadPair]. Senders use
// STARTTLS without checking the certificate; people who fetch mail will want a real one.
func SelfSigned(dir, host string) (certFile, keyFile string, made bool, err error) {
	certFile, keyFile = selfSignedFiles(dir)
	switch _, err := ReadPair(certFile, keyFile); {
	case err == nil:
		return certFile, keyFile, false, nil
	case !mayBeReplaced(certFile, err):
		return "", "", false, err
	}
	certPEM, keyPEM, err := selfSignedPair(host)
	if err != nil {
		return "", "", false, fmt.Errorf("make a self-signed certificate: %w", err)
	}
	// If only the first gets its name they are no pair, and the next start makes another.
	err = replace(
		wholeFile{keyFile, keyPEM, 0o600},
		wholeFile{certFile, certPEM, 0o644},
	)
	if err != nil {
		return "", "", false, fmt.Errorf("write a self-signed certificate: %w", err)
	}
	return certFile, keyFile, true, nil
}

// BadSelfSigned returns why the pair in dir that [SelfSigned] once made cannot be used, if
// SelfSigned would replace it. It returns nil if the pair can be used, if there is none,
// and if a new one would not help.
func BadSelfSigned(dir string) error {
	certFile, keyFile := selfSignedFiles(dir)
	_, err := ReadPair(certFile, keyFile)
	if err == nil || errors.Is(err, fs.ErrNotExist) || !mayBeReplaced(certFile, err) {
		return nil
	}
	return err
}

func selfSignedFiles(dir string) (certFile, keyFile string) {
	return filepath.Join(dir, SelfSignedNames[0]), filepath.Join(dir, SelfSignedNames[1])
}

// mayBeReplaced reports whether a pair is to be made new after ReadPair failed with err. A
// pair that cannot be read from the disk, or that everybody can read, is not.
func mayBeReplaced(certFile string, err error) bool {
	if !errors.Is(err, fs.ErrNotExist) && !errors.As(err, new(*BadPair)) {
		return false
	}
	text, err := os.ReadFile(certFile)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	for _, block := range (pemFile{certFile, text}).blocks("CERTIFICATE") {
		c, err := x509.ParseCertificate(block.Bytes)
		if err == nil && !bytes.Equal(c.RawIssuer, c.RawSubject) {
			return false
		}
	}
	return true
}

// wholeFile is a file to be written.
type wholeFile struct {
	name string
	text []byte
	mode fs.FileMode // before the umask
}

// replace writes files of one folder to the disk and then gives them their names, in the
// given order. If it is cut off, a file that has its new name has its whole text.
func replace(files ...wholeFile) error {
	const suffix = ".new"
	for _, f := range files {
		if err := writeSynced(f.name+suffix, f.text, f.mode); err != nil {
			return err
		}
	}
	for _, f := range files {
		if err := os.Rename(f.name+suffix, f.name); err != nil {
			return err
		}
	}
	dir, err := os.Open(filepath.Dir(files[0].name))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// writeSynced writes a new file and syncs it. A file that cannot be written whole is
// removed: a full disk needs its space.
func writeSynced(name string, text []byte, mode fs.FileMode) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // of a file that a run left which was cut off
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	if _, err = f.Write(text); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(name)
	}
	return err
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
