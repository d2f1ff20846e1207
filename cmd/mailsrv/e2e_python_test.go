package main_test

import (
	"net"
	"path/filepath"
	"regexp"
	"testing"
)

// python runs a check of client.py on a mailbox.
func (s *site) python(check, mailbox string, files ...string) result {
	s.t.Helper()
	script, err := filepath.Abs("testdata/e2e/client.py")
	if err != nil {
		s.t.Fatal(err)
	}
	args := []string{script, check, mailbox}
	for _, address := range []string{s.server.smtp, s.server.pop3, s.server.pop3s} {
		_, port, _ := net.SplitHostPort(address)
		args = append(args, port)
	}
	args = append(args, s.path("data/selfsigned.crt"))
	return s.run("", "python3", append(args, files...)...)
}

// TestPython makes every check of client.py.
func TestPython(t *testing.T) {
	t.Parallel()
	s := newSite(t, "pop3.lock_wait: 2s")
	s.start()
	source := readFile(t, "testdata/e2e/client.py")
	checks := regexp.MustCompile(`(?m)^def ((?:pop3|smtp)_\w+)\(site\)`).FindAllStringSubmatch(source, -1)
	if len(checks) == 0 {
		t.Fatal("no checks")
	}
	for _, check := range checks {
		t.Run(check[1], func(t *testing.T) {
			in := s.within(t)
			own := check[1] + "@me.com"
			in.mailbox(own)
			if r := in.python(check[1], own); r.code != 0 {
				t.Errorf("exit %d: %s", r.code, r.stderr)
			}
		})
	}
}
