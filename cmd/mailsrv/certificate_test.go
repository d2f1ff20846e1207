package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailsrv/internal/listen"
)

// A self-signed pair that a full disk left empty stops no start: it is made new, and
// said so. One that the administrator has configured is left as it is, in the data
// directory too.
func TestStartMendsItsOwnPairAlone(t *testing.T) {
	h := newHouse(t)
	h.do("", "domain", "add", "me.com")
	own := filepath.Join(h.dir, listen.SelfSignedNames[0])
	key := filepath.Join(h.dir, listen.SelfSignedNames[1])
	for _, name := range []string{own, key} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), "mailsrv.yaml")
	if err := os.WriteFile(file, []byte("tls: {cert_file: "+own+", key_file: "+key+"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.environ = []string{"MAILSRV_CONFIG=" + file}
	if _, stderr, code := h.run("", "serve"); code != exitFailed || !strings.Contains(stderr, "mailsrv: TLS certificate "+own+" is empty") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	if text, err := os.ReadFile(own); err != nil || len(text) > 0 {
		t.Errorf("a configured pair was made: %q, %v", text, err)
	}

	h.environ = nil
	r := h.serve()
	if !r.logged("level=WARN", "the server makes a new one", "file="+own, "is empty") {
		t.Error("nothing was said")
	}
	if _, err := listen.ReadPair(own, key); err != nil {
		t.Error(err)
	}
}
