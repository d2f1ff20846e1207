package main_test

import (
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// mpop fetches mail of look@me.com from host:port; more are lines of its
// configuration.
func (s *site) mpop(address string, more ...string) result {
	s.t.Helper()
	host, port, _ := strings.Cut(address, ":")
	lines := append([]string{
		"account default", "host " + host, "port " + port, "user look@me.com", "password secret", "auth user",
		"uidls_file " + s.path("uidls"), "received_header off",
	}, more...)
	return s.run("", "mpop", "--file", s.write("mpoprc", strings.Join(lines, "\n")+"\n"))
}

// mpopDo is mpop for what must succeed.
func (s *site) mpopDo(address string, more ...string) {
	s.t.Helper()
	if r := s.mpop(address, more...); r.code != 0 {
		s.t.Fatalf("mpop: exit %d", r.code)
	}
}

func TestMpopIntoAMaildir(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.mailbox("look@me.com")
	s.start()
	for _, sub := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(s.path("maildir/"+sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	want := letter("one", ".a dot first\r\ngr\xfcn\r\n\r\nlast\r\n")
	s.send("look@me.com", want)
	s.mpopDo(s.server.pop3, "keep off", "delivery maildir "+s.path("maildir"))
	files, _ := filepath.Glob(s.path("maildir/new/*"))
	if len(files) != 1 {
		t.Fatalf("%d files", len(files))
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	same(t, "message", content(t, strings.ReplaceAll(string(text), "\n", "\r\n")), want)
	if list := s.pop3("/"); strings.TrimSpace(list) != "" {
		t.Errorf("not deleted: %q", list)
	}
}

// Messages stay on the server, and none is fetched twice, also when the second
// fetch is another connection's way and meets another start of the server.
func TestMpopKeeps(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.mailbox("look@me.com")
	s.start()
	block, _ := pem.Decode([]byte(s.read("data/selfsigned.crt")))
	fingerprint := fmt.Sprintf("%X", sha256.Sum256(block.Bytes))
	var pairs []string
	for i := 0; i < len(fingerprint); i += 2 {
		pairs = append(pairs, fingerprint[i:i+2])
	}
	keep := []string{"keep on", "only_new on", "delivery mbox " + s.path("mbox")}
	for _, step := range []struct {
		subject string
		address func() string
		tls     []string
	}{
		{"plain", func() string { return s.server.pop3 }, []string{"tls off"}},
		{"starttls", func() string { return s.server.pop3 }, []string{"tls on", "tls_starttls on",
			"tls_trust_file " + s.path("data/selfsigned.crt"), "tls_host_override mail.me.com"}},
		{"fingerprint", func() string { return s.server.pop3s }, []string{"tls on", "tls_starttls off",
			"tls_fingerprint " + strings.Join(pairs, ":")}},
		{"unchecked", func() string { return s.server.pop3s }, []string{"tls on", "tls_starttls off", "tls_certcheck off"}},
	} {
		before := s.subjects("mbox")
		s.send("look@me.com", letter(step.subject, ""))
		for range 2 {
			s.mpopDo(step.address(), append(step.tls, keep...)...)
			if got, want := s.subjects("mbox"), strings.TrimSpace(before+" "+step.subject); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		s.stop()
		s.start()
	}
	if list := s.pop3("/"); strings.Count(list, "\n") != 4 {
		t.Errorf("left on the server: %q", list)
	}
	if r := s.mpop(s.server.pop3s, append(keep, "tls on", "tls_starttls off", "tls_fingerprint "+strings.Repeat("00:", 31)+"00")...); r.code == 0 {
		t.Error("a wrong fingerprint is taken")
	}
}
