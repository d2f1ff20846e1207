package pop3d_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"mailsrv/internal/auth"
	"mailsrv/internal/logs"
	"mailsrv/pop3d"
)

// startChanging is a server of which the test says whether logins stand.
func startChanging(t *testing.T) (*setup, *changes) {
	t.Helper()
	c := &changes{}
	return start(t, func(config *pop3d.Config) { config.Auth = authenticator{changes: c} }), c
}

// What the administrator changed ends a session with the next command that comes a
// second later, and with a QUIT that deletes at once. Nothing is deleted.
func TestChangedMailboxEndsTheSession(t *testing.T) {
	for _, test := range []struct {
		err           error
		reply, reason string
	}{
		{auth.ErrDisabled, "-ERR [SYS/PERM] the mailbox was disabled", "the mailbox was disabled"},
		{auth.ErrRemoved, "-ERR [SYS/PERM] the mailbox was removed", "the mailbox was removed"},
		{fmt.Errorf("look up: %w", auth.ErrChanged), "-ERR [SYS/PERM] the password was changed", "the password was changed"},
	} {
		s, changes := startChanging(t)
		marking := s.login(t, "alice@me.com")
		marking.send("DELE 1\r\n")
		marking.want("+OK")
		reading := s.login(t, "bob@me.com")
		leaving := s.login(t, "passing@me.com")
		leaving.send("RETR 1\r\n")
		leaving.want("+OK")
		time.Sleep(time.Second) // what the session may have asked before counts so long
		changes.set(test.err)
		marking.send("QUIT\r\n")
		reading.send("NOOP\r\nSTAT\r\nNOOP\r\n")
		leaving.send("QUIT\r\n")
		for _, c := range []*client{marking, reading, leaving} {
			if got := c.wantEnd(); !strings.HasPrefix(got[strings.Index("\n"+got, "\n-ERR"):], test.reply) || strings.Contains(got, "+OK") || strings.Count(got, "-ERR") != 1 {
				t.Errorf("%v: got %q", test.err, got)
			}
		}
		if left := s.store.left(alice); len(left) != 3 {
			t.Errorf("%v: left %v", test.err, left)
		}
		eventually(t, "all sessions end", func() bool { return len(s.log.lines(logs.SessionEnd)) == 3 })
		if n := strings.Count(s.log.String(), test.reason); n != 3 {
			t.Errorf("%v: the reason is logged %d times", test.err, n)
		}
		changes.set(nil)
		s.login(t, "alice@me.com") // its maildrop is free
	}
}

// Also in the second in which no other command asks.
func TestQuitThatDeletesAsksInAnyCase(t *testing.T) {
	s, changes := startChanging(t)
	c := s.login(t, "alice@me.com")
	c.send("DELE 1\r\n")
	c.want("+OK")
	changes.set(auth.ErrDisabled)
	c.send("QUIT\r\n")
	c.want("-ERR [SYS/PERM] the mailbox was disabled")
	c.wantEnd()
	if left := s.store.left(alice); len(left) != 3 {
		t.Errorf("left %v", left)
	}
}

func TestBusySessionAsksOnceASecond(t *testing.T) {
	s, changes := startChanging(t)
	begun := time.Now()
	c := s.login(t, "alice@me.com")
	loggedIn := time.Now()
	for range 500 {
		c.send("NOOP\r\n")
		c.want("+OK")
	}
	if n, most := changes.count(), int(time.Since(begun)/time.Second)+1; n > most {
		t.Errorf("asked %d times, at most %d", n, most)
	}
	for time.Since(loggedIn) < time.Second {
		time.Sleep(10 * time.Millisecond)
	}
	c.send("NOOP\r\n")
	c.want("+OK")
	if changes.count() == 0 {
		t.Error("not asked after a second")
	}
	asked := changes.count()
	c.send("QUIT\r\n")
	c.want("+OK")
	if n := changes.count(); n > asked+1 {
		t.Errorf("asked %d times for a QUIT that deletes nothing", n-asked)
	}
}

// What could not be found out is temporary: nothing is deleted, and the session may
// go on.
func TestLoginThatCannotBeAskedAbout(t *testing.T) {
	s, changes := startChanging(t)
	c := s.login(t, "alice@me.com")
	plain := s.login(t, "bob@me.com")
	changes.set(errUnexpected)
	time.Sleep(time.Second) // what the session may have asked before counts so long
	c.send("DELE 1\r\nSTAT\r\n")
	c.want("-ERR [SYS/TEMP]")
	c.want("-ERR [SYS/TEMP]")
	changes.set(nil)
	c.send("DELE 2\r\n")
	c.want("+OK")
	changes.set(errUnexpected)
	c.send("QUIT\r\n")
	if line := c.want("-ERR [SYS/TEMP] no message was deleted"); strings.Contains(line, "fire") {
		t.Errorf("the cause is told: %q", line)
	}
	c.wantEnd()
	if left := s.store.left(alice); len(left) != 3 {
		t.Errorf("left %v", left)
	}
	plain.send("QUIT\r\n")
	plain.want("+OK bye")
	if !strings.Contains(s.log.String(), errUnexpected.Error()) {
		t.Error("the cause is not in the log")
	}
}
