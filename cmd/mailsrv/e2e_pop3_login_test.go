package main_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"
)

func encode(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// The longest password that can be set opens the mailbox in each way, and what no
// program could send is not set.
func TestLongestPassword(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	password := strings.Repeat("p\u00e4ss w\u00f6rd ", 85) + "1234"
	if len(password) != 1024 {
		t.Fatal(len(password))
	}
	s.mailbox("look@me.com")
	s.start()
	s.doWith(password+"\n", "mailbox", "passwd", "look@me.com", "--password-stdin")
	for bad, why := range map[string]string{
		password + "5": "more than 1024 octets", "se\tcret": "control character", "secret\x1b[A": "control character",
	} {
		s.oneLine(s.mailsrv(bad+"\n", "mailbox", "passwd", "look@me.com", "--password-stdin"), why)
	}
	plain := encode("\x00look@me.com\x00" + password)
	for _, dialogue := range []string{
		"USER look@me.com\r\nPASS " + password,
		"AUTH PLAIN\r\n" + plain,
		"AUTH PLAIN " + plain,
		"AUTH LOGIN\r\n" + encode("look@me.com") + "\r\n" + encode(password),
	} {
		d, _ := dial(t, "127.0.0.1", s.server.pop3)
		fmt.Fprint(d, dialogue+"\r\nQUIT\r\n")
		if got := d.ends(); !strings.Contains(got, "+OK maildrop has 0 messages") {
			t.Errorf("%.20q: got %q", dialogue, got)
		}
	}
}

// A program with a typing mistake tries every way, its set-up the local part first:
// the next person behind the address does not wait for that, and the log says what
// was wrong.
func TestOneMistakeOfAProgram(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.mailbox("look@me.com")
	s.mailbox("see@me.com")
	s.do("alias", "add", "info@me.com", "look@me.com")
	s.mailbox("off@me.com")
	s.do("mailbox", "disable", "off@me.com")
	s.start()
	refused := func(from, name string) {
		t.Helper()
		d, _ := dial(t, from, s.server.pop3)
		d.Do("AUTH PLAIN "+encode("\x00"+name+"\x00secrte"), "-ERR [AUTH] wrong name or password")
		d.Do("AUTH LOGIN", "+ ")
		d.Do(encode(name), "+ ")
		d.Do(encode("secrte"), "-ERR [AUTH] wrong name or password")
		d.Do("USER "+name, "+OK")
		d.Do("PASS secrte", "-ERR [AUTH] wrong name or password")
		d.ends()
	}
	refused("127.0.0.1", "look")
	begun := time.Now()
	refused("127.0.0.1", "look@me.com")
	d, _ := dial(t, "127.0.0.1", s.server.pop3)
	d.Do("USER see@me.com", "+OK")
	d.Do("PASS secret", "+OK")
	// A second for the two mistakes that are different, where it was half a minute.
	if waited := time.Since(begun); waited > 15*time.Second {
		t.Errorf("the next person was in after %v", waited)
	}
	if line := s.server.log.await(t, "msg=login ", "mailbox=see@me.com"); !strings.Contains(line, " delay=1") {
		t.Errorf("the delay is not logged: %s", line)
	}

	for i, test := range []struct{ name, reason string }{
		{"info@me.com", "info@me.com is an alias, which has no login"},
		{"nobody@me.com", "no such mailbox"},
		{"off@me.com", "mailbox is disabled, wrong password"},
	} {
		refused(fmt.Sprint("127.0.0.", 10+i), test.name)
		s.server.log.await(t, "login failed", "mailbox="+test.name, `reason="`+test.reason+`"`)
	}
	s.server.log.await(t, "login failed", "mailbox=look ", `reason="no domain in the name"`)
	s.server.log.await(t, "login failed", "mailbox=look@me.com ", `reason="wrong password"`)
}
