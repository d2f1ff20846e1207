package listen

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"strings"
)

// BadPair is the error for files that could be read but hold no usable pair. See
// [ReadPair].
type BadPair struct{ err error }

func (b *BadPair) Error() string { return b.err.Error() }

func (b *BadPair) Unwrap() error { return b.err }

// ReadPair reads a certificate with its chain, and its key, from PEM files. Its errors
// name the file at fault and what to do about it. The error is a *[BadPair] if the
// content of the files is at fault.
func ReadPair(certFile, keyFile string) (*tls.Certificate, error) {
	cert, err := os.ReadFile(certFile)
	if err != nil {
		return nil, fmt.Errorf("TLS certificate: %w", err)
	}
	key, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, fmt.Errorf("TLS key: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, &BadPair{whyNoPair(pemFile{certFile, cert}, pemFile{keyFile, key}, err)}
	}
	// Checked after the content: the two files may have changed places, and certificates
	// may be read by everybody.
	if err := checkKeyMode(keyFile); err != nil {
		return nil, err
	}
	return &pair, nil
}

// pemFile is the name and the text of a file that should hold PEM.
type pemFile struct {
	name string
	text []byte
}

// whyNoPair looks for common mistakes and returns an error that explains one. If it finds
// none it returns met.
func whyNoPair(cert, key pemFile, met error) error {
	for _, f := range []struct {
		what string
		pemFile
	}{{"TLS certificate", cert}, {"TLS key", key}} {
		if why := f.whyNoText(); why != "" {
			return fmt.Errorf("%s %s %s", f.what, f.name, why)
		}
	}
	certs := cert.blocks("CERTIFICATE")
	keys := key.blocks("PRIVATE KEY")
	switch {
	case len(certs) == 0 && len(keys) == 0 && len(cert.blocks("PRIVATE KEY")) > 0 && len(key.blocks("CERTIFICATE")) > 0:
		return fmt.Errorf("%s holds the TLS key and %s the certificate: exchange tls.cert_file and tls.key_file", cert.name, key.name)
	case len(certs) == 0:
		return fmt.Errorf("TLS certificate %s %s", cert.name, cert.whyNoCertificate())
	case len(keys) == 0:
		return fmt.Errorf("TLS key %s %s", key.name, key.whyNoKey())
	case encrypted(keys[0]):
		return fmt.Errorf("TLS key %s is encrypted, and nobody is there to type its password: write it without one, with: openssl pkey -in %s -out NEW", key.name, key.name)
	}
	public := publicKey(keys[0])
	if public == nil {
		return fmt.Errorf("TLS key %s is broken, or of a kind that TLS does not use: %w", key.name, met)
	}
	for i, block := range certs {
		parsed, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("TLS certificate %s, number %d in the file: %w", cert.name, i+1, err)
		}
		if !public.Equal(parsed.PublicKey) {
			continue
		}
		if i > 0 {
			return fmt.Errorf("TLS certificate %s has the server's own certificate as number %d: put it first, before those of the authorities that signed it", cert.name, i+1)
		}
		return fmt.Errorf("TLS certificate %s with key %s: %w", cert.name, key.name, met)
	}
	return fmt.Errorf("TLS key %s does not belong to the certificate %s: these must print the same: openssl pkey -in %s -pubout; openssl x509 -in %s -noout -pubkey",
		key.name, cert.name, key.name, cert.name)
}

// whyNoText returns why a file cannot be PEM, which is ASCII.
func (f pemFile) whyNoText() string {
	switch {
	case len(bytes.TrimSpace(f.text)) == 0:
		return "is empty"
	case bytes.HasPrefix(f.text, []byte("\xef\xbb\xbf")):
		return fmt.Sprintf(`begins with a byte-order mark: remove it with: sed -i '1s/^\xEF\xBB\xBF//' %s`, f.name)
	case bytes.HasPrefix(f.text, []byte("\xff\xfe")), bytes.HasPrefix(f.text, []byte("\xfe\xff")):
		return fmt.Sprintf("is UTF-16: convert it with: iconv -f UTF-16 -t ASCII %s > NEW", f.name)
	}
	return ""
}

// whyNoCertificate returns what is wrong with a file that has no PEM certificate.
func (f pemFile) whyNoCertificate() string {
	if _, err := x509.ParseCertificates(f.text); err == nil {
		return fmt.Sprintf("is DER: convert it to PEM with: openssl x509 -inform DER -in %s -out NEW", f.name)
	}
	if len(f.blocks("PRIVATE KEY")) > 0 {
		return "holds a private key and no certificate: set tls.cert_file to the file of the certificate"
	}
	if len(f.blocks("PKCS7")) > 0 {
		return fmt.Sprintf("is PKCS #7: convert it with: openssl pkcs7 -print_certs -in %s -out NEW", f.name)
	}
	return f.whyNoPEM("certificate", "-nokeys")
}

// whyNoKey returns what is wrong with a file that has no PEM key.
func (f pemFile) whyNoKey() string {
	if publicKey(&pem.Block{Bytes: f.text}) != nil {
		return fmt.Sprintf("is DER: convert it to PEM with: openssl pkey -inform DER -in %s -out NEW", f.name)
	}
	if len(f.blocks("CERTIFICATE")) > 0 {
		return "holds a certificate and no key: set tls.key_file to the file of the key"
	}
	return f.whyNoPEM("key", "-nocerts -nodes")
}

func (f pemFile) whyNoPEM(what, pkcs12 string) string {
	if f.text[0] == 0x30 { // ASN.1
		return fmt.Sprintf("is not PEM: if it is PKCS #12, convert it with: openssl pkcs12 -in %s %s -out NEW", f.name, pkcs12)
	}
	return fmt.Sprintf("holds no %s in PEM, which begins with -----BEGIN", what)
}

// blocks returns the PEM blocks whose type ends in kind.
func (f pemFile) blocks(kind string) (found []*pem.Block) {
	for block, rest := pem.Decode(f.text); block != nil; block, rest = pem.Decode(rest) {
		if strings.HasSuffix(block.Type, kind) {
			found = append(found, block)
		}
	}
	return found
}

// encrypted reports whether a key needs a password: PKCS #8 (RFC 5958), or the older
// form of RFC 1421.
func encrypted(key *pem.Block) bool {
	return strings.HasPrefix(key.Type, "ENCRYPTED ") || strings.Contains(key.Headers["Proc-Type"], "ENCRYPTED")
}

// publicKey returns the public half of a private key, or nil.
func publicKey(key *pem.Block) interface{ Equal(crypto.PublicKey) bool } {
	var private any
	var err error
	if private, err = x509.ParsePKCS8PrivateKey(key.Bytes); err != nil {
		if private, err = x509.ParsePKCS1PrivateKey(key.Bytes); err != nil {
			if private, err = x509.ParseECPrivateKey(key.Bytes); err != nil {
				return nil
			}
		}
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return nil
	}
	public, _ := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	return public
}
