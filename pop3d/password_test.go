package pop3d_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"mailsrv/pop3d"
)

// logins are the ways in which a password of any length that can be set may come.
func logins(name, password string) map[string]string {
	encode := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	plain := encode("\x00" + name + "\x00" + password)
	acting := encode(name + "\x00" + name + "\x00" + password)
	return map[string]string{
		"PASS":                     "USER " + name + "\r\nPASS " + password + "\r\n",
		"pass, bare LF":            "USER " + name + "\npass " + password + "\n",
		"PLAIN":                    "AUTH PLAIN\r\n" + plain + "\r\n",
		"PLAIN, initial":           "AUTH PLAIN " + plain + "\r\n",
		"PLAIN, initial, for self": "auth plain " + acting + "\r\n",
		"LOGIN":                    "AUTH LOGIN\r\n" + encode(name) + "\r\n" + encode(password) + "\r\n",
		"LOGIN, initial":           "AUTH LOGIN " + encode(name) + "\r\n" + encode(password) + "\r\n",
	}
}

// Whatever password can be set can be sent, in each way.
func TestPasswordsOfEveryLength(t *testing.T) {
	for _, octets := range []int{1, 100, 178, 179, 248, 249, 1023, 1024} {
		password := strings.Repeat("p", octets-1) + "w"
		s := start(t, func(c *pop3d.Config) { c.Auth = authenticator{password: password} })
		for way, dialogue := range logins("alice@me.com", password) {
			c := s.connect(t)
			c.send(dialogue + "STAT\r\nQUIT\r\n")
			if got := c.wantEnd(); !strings.Contains(got, "\r\n+OK 3 103\r\n+OK bye\r\n") || strings.Contains(got, "-ERR") {
				t.Errorf("%d octets by %s: %q", octets, way, got)
			}
		}
	}
}

// Beyond what a login may take a line is too long, and the next command is obeyed.
func TestLoginLinesAreBounded(t *testing.T) {
	s := start(t, nil)
	for _, verb := range []string{"PASS ", "AUTH PLAIN "} {
		c := s.connect(t)
		c.send("USER alice@me.com\r\n" + verb + strings.Repeat("A", 12<<10) + "\r\nPASS secret\r\nPASS " + strings.Repeat("p", 300) + "\r\nQUIT\r\n")
		c.want("+OK")
		c.want("-ERR line too long")
		c.want("+OK maildrop has ")
		c.want("-ERR line too long") // nothing of a login is left in TRANSACTION
		c.want("+OK bye")
		c.wantEnd()
	}
}
