package pop3d_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"mailsrv/internal/auth"
	"mailsrv/internal/logs"
	"mailsrv/pop3d"
)

func patient(c *pop3d.Config) { c.Settings.LockWait = time.Minute }

// waitFor begins a login that waits for the maildrop of another session.
func (s *setup) waitFor(t *testing.T, name string) *client {
	t.Helper()
	before := s.store.Waiting()
	c := s.connect(t)
	c.send("USER " + name + "\r\n")
	c.want("+OK")
	c.send("PASS secret\r\n")
	eventually(t, "a login waits", func() bool { return s.store.Waiting() == before+1 })
	return c
}

func TestLoginWaitsForTheMaildrop(t *testing.T) {
	s := start(t, patient)
	first := s.login(t, "alice@me.com")
	second := s.waitFor(t, "alice@me.com")
	third := s.waitFor(t, "alice@me.com")
	s.login(t, "bob@me.com") // another maildrop
	first.send("DELE 1\r\nQUIT\r\n")
	second.want("+OK maildrop has 2 messages") // as the first one left it
	if s.store.Waiting() != 1 {
		t.Error("the third does not wait any more")
	}
	second.Close()
	third.want("+OK maildrop has 2 messages")
}

func TestLoginThatWaitedInVain(t *testing.T) {
	s := start(t, func(c *pop3d.Config) { c.Settings.LockWait = 50 * time.Millisecond })
	first := s.login(t, "alice@me.com")
	begun := time.Now()
	second, line := s.tryLogin(t, "alice@me.com")
	if !strings.HasPrefix(line, "-ERR [IN-USE] another program has this mailbox open") || time.Since(begun) < 50*time.Millisecond {
		t.Errorf("%q after %v", line, time.Since(begun))
	}
	second.Close()
	first.send("NOOP\r\n")
	first.want("+OK")
	if s.store.Waiting() != 0 {
		t.Error("it waits still")
	}
}

func TestSilentSessionGivesWayToWhoWaits(t *testing.T) {
	s := start(t, func(c *pop3d.Config) {
		patient(c)
		c.Settings.LockTakeoverAfter = 200 * time.Millisecond
	})
	first := s.login(t, "alice@me.com")
	first.send("DELE 1\r\n") // with marks it keeps it
	first.want("+OK")
	second := s.waitFor(t, "alice@me.com")
	first.send("RSET\r\n")
	first.want("+OK")
	second.want("+OK maildrop has 3 messages")
	first.send("STAT\r\n")
	first.want("-ERR [SYS/TEMP] another session took this maildrop")
}

func TestShutdownEndsWaiting(t *testing.T) {
	s := start(t, patient)
	s.store.put(vast, message{uidl: "v", text: vastText})
	first := s.login(t, "vast@me.com")
	first.send("RETR 1\r\n") // it does not read on: a drain would wait for it
	first.want("+OK")
	second := s.waitFor(t, "vast@me.com")
	ctx, cancel := context.WithCancel(t.Context())
	down := make(chan error)
	begun := time.Now()
	go func() { down <- s.Shutdown(ctx) }()
	second.want("-ERR [SYS/TEMP] server is shutting down")
	second.wantEnd()
	if took := time.Since(begun); took > 30*time.Second { // it would have waited a minute
		t.Errorf("it was told after %v", took)
	}
	cancel()
	<-down
	if s.store.Waiting() != 0 {
		t.Error("somebody waits still")
	}
}

// A client that hung up keeps no place, and what it said before is no failure.
func TestWaitingClientThatHangsUp(t *testing.T) {
	s := start(t, patient)
	s.login(t, "alice@me.com")
	second := s.waitFor(t, "alice@me.com")
	second.send("QUIT\r\n")
	second.Close()
	eventually(t, "nobody waits", func() bool { return s.store.Waiting() == 0 })
	eventually(t, "its session ends", func() bool { return len(s.log.lines(logs.SessionEnd)) == 1 })
}

// What changed while a login waited counts.
func TestLoginIsAskedAboutAfterItWaited(t *testing.T) {
	for _, test := range []struct {
		err    error
		before string
	}{
		{auth.ErrDisabled, "-ERR [AUTH] wrong name or password"},
		{errUnexpected, "-ERR [SYS/TEMP]"},
	} {
		changes := &changes{}
		s := start(t, func(c *pop3d.Config) {
			patient(c)
			c.Auth = authenticator{changes: changes}
		})
		first := s.login(t, "alice@me.com")
		second := s.waitFor(t, "alice@me.com")
		time.Sleep(time.Second) // so long what was found at the login counts
		changes.set(test.err)
		first.Close()
		second.want(test.before)
		changes.set(nil)
		second.send("USER alice@me.com\r\nPASS secret\r\n") // the maildrop is free
		second.want("+OK")
		second.want("+OK")
	}
}

// The login delay counts from when a mailbox was opened, also for who waited.
func TestLoginDelayCountsForWhoWaited(t *testing.T) {
	s := start(t, func(c *pop3d.Config) {
		patient(c)
		c.Settings.LoginDelay = time.Hour
	})
	blocked := make(chan struct{})
	s.store.mu.Lock()
	s.store.opening = blocked
	s.store.mu.Unlock()
	first := s.connect(t)
	first.send("USER alice@me.com\r\n")
	first.want("+OK")
	first.send("PASS secret\r\n")
	eventually(t, "the first opens its maildrop", func() bool { return s.store.called() == "OpenMaildrop" })
	second := s.waitFor(t, "alice@me.com")
	close(blocked)
	first.want("+OK")
	first.Close()
	second.want("-ERR [LOGIN-DELAY]")
}

// A client that says all it wants at once, and then that it is done, still gets its
// turn.
func TestWaitingClientThatHasSaidAll(t *testing.T) {
	s := start(t, patient)
	first := s.login(t, "alice@me.com")
	second := s.connect(t)
	second.send("USER alice@me.com\r\nPASS secret\r\nSTAT\r\nQUIT\r\n")
	if err := second.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it waits", func() bool { return s.store.Waiting() == 1 })
	time.Sleep(300 * time.Millisecond) // it looks ten times a second whether its client is there
	first.send("QUIT\r\n")
	if rest := second.wantEnd(); !strings.Contains(rest, "+OK 3 ") || !strings.HasSuffix(rest, "+OK bye\r\n") {
		t.Errorf("heard %q", rest)
	}
}
