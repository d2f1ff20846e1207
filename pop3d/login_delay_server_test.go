package pop3d_test

import (
	"strings"
	"testing"
	"time"

	"mailsrv/pop3d"
)

func TestLoginDelay(t *testing.T) {
	const delay = 300 * time.Millisecond
	s := start(t, func(c *pop3d.Config) { c.Settings.LoginDelay = delay })
	begun := time.Now()
	first := s.login(t, "alice@me.com")
	first.send("QUIT\r\n")
	first.want("+OK")

	second := s.connect(t)
	tooSoon := 0
	eventually(t, "the mailbox may be opened again", func() bool {
		// A wrong password is told as ever: the delay is for those who may enter.
		if tooSoon == 0 {
			second.send("USER alice@me.com\r\nPASS wrong\r\n")
			second.want("+OK")
			second.want("-ERR [AUTH]")
		}
		second.send("USER alice@me.com\r\nPASS secret\r\n")
		second.want("+OK")
		line := second.line()
		if strings.HasPrefix(line, "-ERR [LOGIN-DELAY] ") {
			tooSoon++
			time.Sleep(delay / 10) // twenty mistakes end a session
			return false
		}
		return strings.HasPrefix(line, "+OK")
	})
	if waited := time.Since(begun); waited < delay || tooSoon == 0 {
		t.Errorf("opened again after %v and %d refusals", waited, tooSoon)
	}
	s.login(t, "bob@me.com") // another mailbox has another clock
	// The delay goes before the claim: nothing is taken over by who may not enter.
	if _, line := s.tryLogin(t, "alice@me.com"); !strings.HasPrefix(line, "-ERR [LOGIN-DELAY]") {
		t.Errorf("got %q", line)
	}
	if !strings.Contains(s.log.String(), `msg="login failed" proto=pop3 client=127.0.0.1 tls="" mailbox=alice@me.com reason="too soon after the last login"`) {
		t.Error("the reason is not logged")
	}
}

// A login that was refused does not begin the delay anew.
func TestRefusedLoginBeginsNoDelay(t *testing.T) {
	s := start(t, func(c *pop3d.Config) { c.Settings.LoginDelay = time.Hour })
	s.store.fail("OpenMaildrop", errUnexpected)
	if _, line := s.tryLogin(t, "alice@me.com"); !strings.HasPrefix(line, "-ERR [SYS/TEMP]") {
		t.Fatalf("got %q", line)
	}
	s.store.fail("OpenMaildrop", nil)
	s.login(t, "alice@me.com")
}
