package main_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// getmail fetches mail of look@me.com from host:port and appends it to the file
// inbox; more are lines of its configuration, a section named before them in
// brackets.
func (s *site) getmail(address, retriever string, more ...string) result {
	s.t.Helper()
	host, port, _ := strings.Cut(address, ":")
	if err := os.MkdirAll(s.path("getmail"), 0o700); err != nil {
		s.t.Fatal(err)
	}
	// Into a program: getmail does not write a mailbox as root. One that ends before
	// getmail waits for it is waited for in vain: SIGCHLD has come by then.
	s.write("getmail/getmailrc", fmt.Sprintf(`
[destination]
type = MDA_external
path = /bin/sh
arguments = ("-c", "cat >>'%s'; sleep 0.3")
allow_root_commands = true
[retriever]
type = %s
server = %s
port = %s
username = look@me.com
password = secret
%s
`, s.path("inbox"), retriever, host, port, strings.Join(more, "\n")))
	return s.run("", "getmail", "--getmaildir", s.path("getmail"))
}

// ofGetmail are the options for tests: nothing is added to a message.
func ofGetmail(keep bool) []string {
	return []string{"[options]", "delivered_to = false", "received = false", "read_all = false", fmt.Sprintf("delete = %t", !keep)}
}

func TestGetmailFetchesAndDeletes(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.mailbox("look@me.com")
	s.start()
	s.send("look@me.com", letter("one", ".a dot first\r\ngr\xfcn\r\n"))
	s.send("look@me.com", letter("two", "\r\n"))
	if r := s.getmail(s.server.pop3, "SimplePOP3Retriever", ofGetmail(false)...); r.code != 0 {
		t.Fatalf("exit %d", r.code)
	}
	if got := s.subjects("inbox"); got != "one two" {
		t.Errorf("got %s", got)
	}
	if !strings.Contains(s.read("inbox"), "\n\n.a dot first\ngr\xfcn\n") {
		t.Errorf("%q", s.read("inbox"))
	}
	if list := s.pop3("/"); strings.TrimSpace(list) != "" {
		t.Errorf("not deleted: %q", list)
	}
}

// Messages stay on the server, and none is fetched twice. getmail has no STLS:
// without TLS from the first octet it sends its password in the clear.
func TestGetmailKeeps(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.mailbox("look@me.com")
	s.start()
	trust := []string{"ca_certs = " + s.path("data/selfsigned.crt"), "ssl_cert_hostname = mail.me.com"}
	fetch := func(want string) {
		t.Helper()
		for range 2 {
			if r := s.getmail(s.server.pop3s, "SimplePOP3SSLRetriever", append(trust, ofGetmail(true)...)...); r.code != 0 {
				t.Fatalf("exit %d", r.code)
			}
			if got := s.subjects("inbox"); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
	}
	s.send("look@me.com", letter("one", ""))
	fetch("one")
	s.send("look@me.com", letter("two", ""))
	fetch("one two")
	if list := s.pop3("/"); strings.Count(list, "\n") != 2 {
		t.Errorf("left on the server: %q", list)
	}
	if !strings.Contains(s.server.log.String(), `msg=login proto=pop3 client=127.0.0.1 tls="TLS1.3`) {
		t.Error("not over TLS")
	}
	if r := s.getmail(s.server.pop3s, "SimplePOP3SSLRetriever", append([]string{trust[0], "ssl_cert_hostname = other.example"}, ofGetmail(true)...)...); r.code == 0 {
		t.Error("a certificate of another name is taken")
	}
}
