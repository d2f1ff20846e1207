//go:build cgo

package smtpd_test

import (
	"fmt"
	"strings"
	"testing"

	"mailsrv/storage/sqlite"
)

// What was said with 250 stands in a real store, whole and for each recipient; what was
// refused does not.
func TestOnTheRealStore(t *testing.T) {
	store, err := sqlite.Open(background, t.TempDir(), sqlite.Options{Server: true})
	must(t, err)
	w := newWorldOn(t, store)
	text := "Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 78)+"\r\n", 1000)
	c := w.connect()
	c.do("EHLO client.example", "250")
	c.envelope("look@me.com", "look@xn--bcher-kva.example")
	c.say(fmt.Sprintf("BDAT %d LAST\r\n%s", len(text), text))
	c.want("250 2.0.0 accepted")
	c.envelope("look@me.com", "small@me.com")
	c.do("DATA", "354")
	c.say(text + ".\r\n")
	c.want("452 4.2.2")
	c.do("MAIL FROM:<alice@example.org>", "250")
	c.do("RCPT TO:<full@me.com>", "552 5.2.2")
	c.do("QUIT", "221")
	c.Close()
	for name, n := range map[string]int{"look@me.com": 1, "look@xn--bcher-kva.example": 1, "small@me.com": 0, "full@me.com": 1} {
		all := w.messages(name)
		if len(all) != n {
			t.Errorf("%s holds %d messages, want %d", name, len(all), n)
		}
		for _, message := range all {
			if name != "full@me.com" && content(message) != text {
				t.Errorf("%s holds %.200q", name, message)
			}
		}
	}
}
