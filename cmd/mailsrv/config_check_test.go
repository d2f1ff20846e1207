package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailsrv/internal/listen"
	"mailsrv/test/asroot"
)

func TestConfigCheck(t *testing.T) {
	dir := t.TempDir()
	cert, key, _, err := listen.SelfSigned(dir, "mail.me.com")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "mailsrv.yaml")
	h := newHouse(t, "MAILSRV_CONFIG="+file)
	write := func(name, text string) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(file, "tls: {cert_file: "+cert+", key_file: "+key+"}\n")
	out := h.do("", "config", "check")
	if !strings.HasPrefix(out, "ok: configuration "+file+"\n    certificate "+cert+", valid until 20") || strings.Count(out, "\n") != 2 {
		t.Errorf("got %s", out)
	}
	if _, err := os.Stat(h.dir); !os.IsNotExist(err) {
		t.Errorf("it made something: %v", err)
	}
	endsTomorrow(t, cert, key)
	if _, stderr, code := h.run("", "config", "check"); code != exitDone || !strings.Contains(stderr, "mailsrv: warning: the certificate ends soon") {
		t.Errorf("exit %d: %s", code, stderr)
	}

	write(file, "quota: {when_full: bounce}\n")
	h.refused("configuration "+file+": quota.when_full", "config", "check")
	write(file, "storage: {url: \"postgres://mail:secret@db1,db2/mail\"}\n")
	h.refused("configuration "+file+": storage.url: this build knows sqlite alone: write sqlite:PATH, or nothing for mailsrv.db in data_dir\n", "config", "check")
	write(file, "storage: {dsn: /srv/mail.db}\n")
	h.refused("unknown key storage.dsn: did you mean storage.url?", "config", "check")
	write(file, "tls: {cert_file: "+key+", key_file: "+cert+"}\n")
	h.refused("exchange tls.cert_file and tls.key_file (configuration "+file+")", "config", "check")

	// A self-signed pair is looked at where there is one, and never made.
	write(file, "")
	if out := h.do("", "config", "check"); out != "ok: configuration "+file+"\n" {
		t.Errorf("got %s", out)
	}
	h.do("", "domain", "add", "me.com")
	if out := h.do("", "config", "check"); out != "ok: configuration "+file+"\n" {
		t.Errorf("got %s", out)
	}
	own, _, _, err := listen.SelfSigned(h.dir, "mail.me.com")
	if err != nil {
		t.Fatal(err)
	}
	if out := h.do("", "config", "check"); !strings.Contains(out, "certificate "+own) {
		t.Errorf("got %s", out)
	}
	write(own, "half written")
	stdout, stderr, code := h.run("", "config", "check")
	if code != exitDone || stdout != "ok: configuration "+file+"\n" ||
		!strings.Contains(stderr, "the server makes a new one") || !strings.Contains(stderr, "TLS certificate "+own+" holds no certificate") {
		t.Errorf("exit %d: %s%s", code, stdout, stderr)
	}
	if text, err := os.ReadFile(own); err != nil || string(text) != "half written" {
		t.Errorf("config check has changed it: %q, %v", text, err)
	}
}

// What root can read and the server cannot is found.
func TestConfigCheckReadsAsTheOwner(t *testing.T) {
	if asroot.Rerun(t) {
		return
	}
	const nobody = 65534
	dir := t.TempDir()
	for above := dir; above != "/" && above != os.TempDir(); above = filepath.Dir(above) {
		chmod(t, above, 0o755)
	}
	cert, key, _, err := listen.SelfSigned(dir, "mail.me.com")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "mailsrv.yaml")
	if err := os.WriteFile(file, []byte("tls: {cert_file: "+cert+", key_file: "+key+"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, "MAILSRV_CONFIG="+file)
	h.dir = filepath.Join(dir, "data")
	if err := os.Mkdir(h.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(h.dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		want string
		mend func()
	}{
		{"configuration " + file + " cannot be read: permission denied", func() { chmod(t, file, 0o644) }},
		{"TLS key: open " + key + ": permission denied", func() {
			if err := os.Chown(key, nobody, nobody); err != nil {
				t.Fatal(err)
			}
		}},
		{"ok: configuration " + file, func() {}},
	} {
		if out, _ := h.process("config", "check").CombinedOutput(); !strings.Contains(string(out), step.want) {
			t.Errorf("got %s want %s", out, step.want)
		}
		step.mend()
	}
}
