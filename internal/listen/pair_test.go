package listen_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"mailsrv/internal/listen"
)

// authority is a key with a certificate, signed by itself or by another.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func certify(t *testing.T, name string, by *authority) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().AddDate(1, 0, 0),
		IsCA: by == nil, BasicConstraintsValid: true,
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{key, cert}
}

func (a authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

func pkcs8(t *testing.T, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func utf16le(text []byte) []byte {
	wide := []byte{0xff, 0xfe}
	for _, unit := range utf16.Encode([]rune(string(text))) {
		wide = append(wide, byte(unit), byte(unit>>8))
	}
	return wide
}

// Whatever is wrong with the files, the error names the one at fault and what to do.
func TestBadPairsAreExplained(t *testing.T) {
	ca := certify(t, "authority", nil)
	leaf := certify(t, "mail.me.com", &ca)
	other := certify(t, "other.example", nil)
	cert := leaf.pem()
	der := pkcs8(t, leaf.key)
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	sec1, err := x509.MarshalECPrivateKey(leaf.key)
	if err != nil {
		t.Fatal(err)
	}
	// The old form of an encrypted key is still about; nothing but its first lines counts.
	old := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: []byte("secret"),
		Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}})
	bom := []byte("\xef\xbb\xbf")
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

	dir := t.TempDir()
	c, k := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for _, row := range []struct {
		name      string
		cert, key []byte
		want      string // of the error; empty: none
	}{
		{"whole", cert, key, ""},
		{"with its chain", join(cert, ca.pem()), key, ""},
		{"older form", cert, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1}), ""},
		{"text around", join([]byte("subject=x\r\n"), cert), join([]byte("Bag Attributes\n"), key), ""},
		{"one file for both", join(key, cert), join(key, cert), ""},

		{"encrypted key", cert, pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("secret")}),
			"TLS key KEY is encrypted, and nobody is there to type its password: write it without one, with: openssl pkey -in KEY -out NEW"},
		{"encrypted key, old form", cert, old,
			"TLS key KEY is encrypted, and nobody is there to type its password: write it without one, with: openssl pkey -in KEY -out NEW"},
		{"certificate in DER", leaf.cert.Raw, key,
			"TLS certificate CERT is DER: convert it to PEM with: openssl x509 -inform DER -in CERT -out NEW"},
		{"key in DER", cert, der, "TLS key KEY is DER: convert it to PEM with: openssl pkey -inform DER -in KEY -out NEW"},
		{"older key in DER", cert, sec1, "TLS key KEY is DER: convert it to PEM with: openssl pkey -inform DER -in KEY -out NEW"},
		{"PKCS #12", []byte("\x30\x82\x01\x00"), key,
			"TLS certificate CERT is not PEM: if it is PKCS #12, convert it with: openssl pkcs12 -in CERT -nokeys -out NEW"},
		{"PKCS #12 as key", cert, []byte("\x30\x82\x01\x00"),
			"TLS key KEY is not PEM: if it is PKCS #12, convert it with: openssl pkcs12 -in KEY -nocerts -nodes -out NEW"},
		{"PKCS #7", pem.EncodeToMemory(&pem.Block{Type: "PKCS7", Bytes: []byte("x")}), key,
			"TLS certificate CERT is PKCS #7: convert it with: openssl pkcs7 -print_certs -in CERT -out NEW"},
		{"byte-order mark", join(bom, cert), key,
			`TLS certificate CERT begins with a byte-order mark: remove it with: sed -i '1s/^\xEF\xBB\xBF//' CERT`},
		{"byte-order mark before a chain", join(bom, cert, ca.pem()), key,
			`TLS certificate CERT begins with a byte-order mark: remove it with: sed -i '1s/^\xEF\xBB\xBF//' CERT`},
		{"byte-order mark of the key", cert, join(bom, key),
			`TLS key KEY begins with a byte-order mark: remove it with: sed -i '1s/^\xEF\xBB\xBF//' KEY`},
		{"UTF-16", utf16le(cert), key, "TLS certificate CERT is UTF-16: convert it with: iconv -f UTF-16 -t ASCII CERT > NEW"},
		{"authority first", join(ca.pem(), cert), key,
			"TLS certificate CERT has the server's own certificate as number 2: put it first, before those of the authorities that signed it"},
		{"exchanged", key, cert, "CERT holds the TLS key and KEY the certificate: exchange tls.cert_file and tls.key_file"},
		{"key twice", key, key, "TLS certificate CERT holds a private key and no certificate: set tls.cert_file to the file of the certificate"},
		{"certificate twice", cert, cert, "TLS key KEY holds a certificate and no key: set tls.key_file to the file of the key"},
		{"of another", other.pem(), key,
			"TLS key KEY does not belong to the certificate CERT: these must print the same: openssl pkey -in KEY -pubout; openssl x509 -in CERT -noout -pubkey"},
		{"empty certificate", nil, key, "TLS certificate CERT is empty"},
		{"empty key", cert, []byte("\n"), "TLS key KEY is empty"},
		{"text", []byte("half written"), key, "TLS certificate CERT holds no certificate in PEM, which begins with -----BEGIN"},
		{"text as key", cert, []byte("half written"), "TLS key KEY holds no key in PEM, which begins with -----BEGIN"},
		{"broken key", cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("secret")}),
			"TLS key KEY is broken, or of a kind that TLS does not use: tls: failed to parse private key"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if err := os.WriteFile(c, row.cert, 0o644); err != nil {
				t.Fatal(err)
			}
			mode := os.FileMode(0o600)
			if row.name == "exchanged" { // what is thought to be the key is the certificate's file
				mode = 0o644
			}
			os.Remove(k)
			if err := os.WriteFile(k, row.key, mode); err != nil {
				t.Fatal(err)
			}
			got := ""
			if _, err := listen.ReadPair(c, k); err != nil {
				got = strings.NewReplacer(c, "CERT", k, "KEY").Replace(err.Error())
			}
			if got != row.want || strings.Contains(got, "secret") {
				t.Errorf("\ngot  %s\nwant %s", got, row.want)
			}
		})
	}
}
