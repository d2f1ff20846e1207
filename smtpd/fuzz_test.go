package smtpd_test

import (
	"bufio"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"mailsrv/smtpd"
)

var replyLine = regexp.MustCompile(`\A[2345]\d\d[ -][^\r\n]*\r\n\z`)

// FuzzSession sends whatever it is given, from each state of the protocol. The
// session must end, answer in well-formed lines, and store nothing half.
func FuzzSession(f *testing.F) {
	w := newWorld(f, func(s *smtpd.Settings) { s.CommandTimeout, s.DataIdleTimeout = 2*time.Second, 2*time.Second })
	states := []string{
		"",
		"EHLO c.example\r\n",
		"EHLO c.example\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<look@me.com>\r\n",
		"EHLO c.example\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<look@me.com>\r\nDATA\r\n",
		"EHLO c.example\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<look@me.com>\r\nBDAT 10\r\n",
	}
	for state, s := range []string{"EHLO x\r\nQUIT\r\n", "MAIL FROM:<>\r\nMAIL FROM:<a@b>\r\n", "BDAT 3 LAST\r\nabcBDAT x\r\n", "a\r\n.\r\nNOOP\r\n", "0123456789NOOP\r\nBDAT 0 LAST\r\nRSET\r\n", "STARTTLS\r\nNOOP\r\n", "RCPT TO:<\"\\\x00\"@me.com> NOTIFY=\r\n"} {
		f.Add(uint(state), []byte(s))
	}
	f.Fuzz(func(t *testing.T, state uint, octets []byte) {
		c, err := net.Dial("tcp", w.addr)
		must(t, err)
		defer c.Close()
		go func() {
			c.Write([]byte(states[state%uint(len(states))]))
			c.Write(octets)
			c.(*net.TCPConn).CloseWrite()
		}()
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		in := bufio.NewReader(c)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				if line != "" || strings.Contains(err.Error(), "timeout") {
					t.Fatalf("state %d, %q: the session ends with %q, %v", state, octets, line, err)
				}
				return
			}
			if !replyLine.MatchString(line) {
				t.Fatalf("state %d, %q: reply %q", state, octets, line)
			}
		}
	})
}
