package main_test

import (
	"bufio"
	"crypto/tls"
	"net"
	"testing"
	"time"
)

// A program that polls by POP3S resumes its session, which spares both sides the
// handshake; a sender on port 25 gets no ticket, since some hang up on one.
func TestTicketsForPOP3Alone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.mailbox("look@me.com")
	s.start()
	visit := func(address string, starttls bool, cache tls.ClientSessionCache) bool {
		t.Helper()
		plain, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer plain.Close()
		plain.SetDeadline(time.Now().Add(50 * time.Second))
		if starttls {
			in := bufio.NewReader(plain)
			for _, command := range []string{"", "STARTTLS\r\n"} {
				plain.Write([]byte(command))
				if line, err := in.ReadString('\n'); err != nil || line[:3] != "220" {
					t.Fatalf("%q, %v", line, err)
				}
			}
		}
		c := tls.Client(plain, &tls.Config{InsecureSkipVerify: true, ServerName: "mail.me.com", ClientSessionCache: cache})
		c.Write([]byte("NOOP\r\nQUIT\r\n"))
		bufio.NewReader(c).ReadString('\n') // with TLS 1.3 tickets come with the first octets
		return c.ConnectionState().DidResume
	}
	for _, test := range []struct {
		name, address string
		starttls      bool
		resumes       bool
	}{
		{"SMTP", s.server.smtp, true, false},
		{"POP3S", s.server.pop3s, false, true},
	} {
		cache := tls.NewLRUClientSessionCache(1)
		visit(test.address, test.starttls, cache)
		if resumed := visit(test.address, test.starttls, cache); resumed != test.resumes {
			t.Errorf("%s: resumed: %v", test.name, resumed)
		}
	}
}
