package main

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailsrv/internal/listen"
	"mailsrv/test/kit"
)

func TestReload(t *testing.T) {
	h := newHouse(t)
	h.configure("quota: {when_full: reject}\n")
	r := h.serve()
	h.do("", "domain", "add", "me.com")
	h.do("", "mailbox", "add", "look@me.com", "--generate", "--messages", "1")
	if err := r.send("look@me.com"); err != nil {
		t.Fatal(err)
	}
	if err := r.send("look@me.com"); err == nil || !strings.HasPrefix(err.Error(), "552 ") {
		t.Errorf("before: %v", err)
	}
	hangUp := func() { syscall.Kill(os.Getpid(), syscall.SIGHUP) }

	h.configure("quota: {when_full: defer}\nhostname: other.example\n")
	hangUp()
	await(t, "the reload", func() bool { return r.logged("msg=reloaded", "changed=quota.when_full") })
	if !r.logged("level=WARN", "need a restart: hostname") {
		t.Error("the log does not name the key that needs a restart")
	}
	if err := r.send("look@me.com"); err == nil || !strings.HasPrefix(err.Error(), "452 ") {
		t.Errorf("after: %v", err)
	}

	h.configure("quota: {when_full: bounce}\n")
	hangUp()
	await(t, "the refusal", func() bool { return r.logged("msg=failed", "nothing was reloaded", "quota.when_full") })
	if err := r.send("look@me.com"); err == nil || !strings.HasPrefix(err.Error(), "452 ") {
		t.Errorf("a bad configuration changed something: %v", err)
	}
	if code := r.stop(); code != exitDone {
		t.Errorf("exit %d", code)
	}
}

// The unit reloads by two commands, of which the first fails where anything is wrong.
func TestUnitReloads(t *testing.T) {
	unit, err := os.ReadFile("../../deploy/mailsrv.service")
	if err != nil {
		t.Fatal(err)
	}
	h := newHouse(t)
	file := h.configure("quota: {when_full: reject}\n")
	var commands [][]string
	for _, found := range regexp.MustCompile(`(?m)^ExecReload=/usr/local/bin/mailsrv (.+)$`).FindAllStringSubmatch(string(unit), -1) {
		commands = append(commands, strings.Fields(strings.ReplaceAll(found[1], "/etc/mailsrv/mailsrv.yaml", file)))
	}
	if len(commands) != 2 {
		t.Fatalf("the unit has %q", commands)
	}
	r := h.serve()
	h.configure("quota: {when_full: defer}\n")
	for _, command := range commands {
		h.do("", command...)
	}
	if !r.logged("msg=reloaded", "changed=quota.when_full") {
		t.Error("nothing was reloaded")
	}
	h.configure("quota: {when_full: bounce}\n")
	h.refused("quota.when_full", commands[0]...)
}

// Where certificate or configuration is bad, nothing of either is applied.
func TestReloadIsAllOrNothing(t *testing.T) {
	cert, key, _, err := listen.SelfSigned(t.TempDir(), "one.example")
	if err != nil {
		t.Fatal(err)
	}
	h := newHouse(t)
	write := func(name, text string) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const good = "quota: {when_full: reject}\n"
	pair := "tls: {cert_file: " + cert + ", key_file: " + key + "}\n"
	h.configure(good + pair)
	r := h.serve()
	h.do("", "domain", "add", "me.com")
	h.do("", "mailbox", "add", "look@me.com", "--generate", "--quota", "1KiB", "--messages", "1")
	if err := r.send("look@me.com"); err != nil {
		t.Fatal(err)
	}
	unchanged := func() {
		t.Helper()
		if err := r.send("look@me.com"); err == nil || !strings.HasPrefix(err.Error(), "552 ") {
			t.Errorf("the configuration was applied: %v", err)
		}
		if got := r.shown(); got != "one.example" {
			t.Errorf("the certificate of %s is shown", got)
		}
		if r.logged("msg=reloaded") {
			t.Error("the log says that it was reloaded")
		}
	}

	whole, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	write(cert, "half written")
	h.configure("quota: {when_full: defer}\n" + pair)
	h.refused("nothing was reloaded: TLS certificate "+cert+" holds no certificate", "reload")
	unchanged()

	// The certificate is renewed, the configuration bad.
	otherCert, otherKey, _, err := listen.SelfSigned(t.TempDir(), "two.example")
	if err != nil {
		t.Fatal(err)
	}
	h.configure(good + "tls: {cert_file: " + otherCert + ", key_file: " + otherKey + "}\nquota: {}\n")
	if _, stderr, code := h.run("", "reload"); code != exitFailed || !strings.Contains(stderr, "not valid YAML") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	syscall.Kill(os.Getpid(), syscall.SIGHUP)
	await(t, "the refusal", func() bool { return r.logged("msg=failed", "nothing was reloaded", "not valid YAML") })
	unchanged()

	write(cert, string(whole))
	h.configure("quota: {when_full: defer}\nhostname: other.example\ntls: {cert_file: " + otherCert + ", key_file: " + otherKey + "}\n")
	want := "Reloaded: tls.cert_file, tls.key_file, quota.when_full.\nThese keys changed and need a restart: hostname.\n"
	until := regexp.MustCompile(`The certificate in use is valid until 20\d\d-\d\d-\d\d \d\d:\d\d UTC\.\n`)
	reload := func() string {
		got := h.do("", "reload")
		if !until.MatchString(got) {
			t.Errorf("no word on the certificate: %s", got)
		}
		return until.ReplaceAllString(got, "")
	}
	if got := reload(); got != want {
		t.Errorf("got %s", got)
	}
	if err := r.send("look@me.com"); err == nil || !strings.HasPrefix(err.Error(), "452 ") || r.shown() != "two.example" {
		t.Errorf("not applied: %v, %s", err, r.shown())
	}
	if got := reload(); got != "Reloaded; no key that a reload applies has changed.\nThese keys changed and need a restart: hostname.\n" {
		t.Errorf("got %s", got)
	}
}

// shown is the name in the certificate that a client is shown.
func (r *running) shown() string {
	r.t.Helper()
	c, err := tls.Dial("tcp", r.address("pop3", "implicit"), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].Subject.CommonName
}

func TestReloadOfTheCertificate(t *testing.T) {
	pair := func(host string) (string, string) {
		cert, key, _, err := listen.SelfSigned(t.TempDir(), host)
		if err != nil {
			t.Fatal(err)
		}
		return cert, key
	}
	cert, key := pair("one.example")
	h := newHouse(t, "MAILSRV_TLS_CERT_FILE="+cert, "MAILSRV_TLS_KEY_FILE="+key)
	r := h.serve()
	defer r.stop()
	if got := r.shown(); got != "one.example" {
		t.Errorf("got %s", got)
	}
	os.Remove(cert)
	os.Remove(key)
	syscall.Kill(os.Getpid(), syscall.SIGHUP)
	await(t, "the complaint", func() bool { return r.logged("msg=failed", "nothing was reloaded", cert) })
	if got := r.shown(); got != "one.example" {
		t.Errorf("a missing file took the certificate away: %s", got)
	}
	cert2, key2 := pair("two.example")
	os.Rename(cert2, cert)
	os.Rename(key2, key)
	syscall.Kill(os.Getpid(), syscall.SIGHUP)
	await(t, "the new certificate", func() bool { return r.shown() == "two.example" })
	await(t, "its end", func() bool {
		return r.logged("msg=reloaded", "expires="+time.Now().AddDate(10, 0, 0).UTC().Format("2006-01-02"))
	})
	if r.logged("ends soon") {
		t.Error("a certificate of ten years is said to end soon")
	}
	endsTomorrow(t, cert, key)
	syscall.Kill(os.Getpid(), syscall.SIGHUP)
	await(t, "the warning", func() bool { return r.logged("level=WARN", "ends soon", "file="+cert) })
}

// endsTomorrow gives the key at hand a certificate of one day.
func endsTomorrow(t *testing.T, certFile, keyFile string) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	short := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().AddDate(0, 0, 1)}
	der, err := x509.CreateCertificate(rand.Reader, short, short, pair.Leaf.PublicKey, pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(certFile, block, 0o644); err != nil {
		t.Fatal(err)
	}
}

// Orders to reload that come while a reload lasts hide no order to stop.
func TestStopIsNotLostBehindReloads(t *testing.T) {
	h := newHouse(t)
	file := h.configure("")
	r := h.serve()
	// A pipe in place of the file: a reload lasts until somebody writes into it.
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
	came := make(chan os.Signal, 1)
	signal.Notify(came, syscall.SIGHUP, syscall.SIGTERM)
	defer signal.Stop(came)
	order := func(s syscall.Signal) {
		t.Helper()
		syscall.Kill(os.Getpid(), s)
		select {
		case <-came:
		case <-time.After(kit.Patience):
			t.Fatalf("%v did not come", s)
		}
	}
	written := func() bool {
		pipe, err := os.OpenFile(file, os.O_WRONLY|syscall.O_NONBLOCK, 0)
		if err != nil { // nobody reads
			return false
		}
		pipe.WriteString("log: {level: info}\n")
		pipe.Close()
		return true
	}
	order(syscall.SIGHUP)
	await(t, "the first reload", written)
	for range 20 {
		order(syscall.SIGHUP)
	}
	order(syscall.SIGTERM)
	await(t, "the end", func() bool {
		written()
		select {
		case <-r.done:
			return true
		default:
			return false
		}
	})
	if r.code != exitDone {
		t.Errorf("exit %d", r.code)
	}
}

func TestReadiness(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	socket.SetReadDeadline(time.Now().Add(20 * time.Second))
	next := func() string {
		buffer := make([]byte, 512)
		n, err := socket.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		return string(buffer[:n])
	}
	r := newHouse(t).serve()
	if got := next(); got != "READY=1" {
		t.Errorf("got %q", got)
	}
	syscall.Kill(os.Getpid(), syscall.SIGHUP)
	if got := next(); !strings.HasPrefix(got, "RELOADING=1\nMONOTONIC_USEC=") {
		t.Errorf("got %q", got)
	}
	if got := next(); got != "READY=1" {
		t.Errorf("got %q", got)
	}
	r.stop()
	if got := next(); got != "STOPPING=1" {
		t.Errorf("got %q", got)
	}
}
