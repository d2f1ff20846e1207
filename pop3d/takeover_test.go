package pop3d_test

import (
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailsrv/internal/logs"
	"mailsrv/pop3d"
	"mailsrv/test/kit"
)

// tryLogin logs in on a new connection and returns the reply, ending that
// session when it was refused.
func (s *setup) tryLogin(t *testing.T, name string) (*client, string) {
	t.Helper()
	c := s.connect(t)
	c.send("USER " + name + "\r\nPASS secret\r\n")
	c.want("+OK")
	line := c.line()
	if strings.HasPrefix(line, "-ERR") {
		c.send("QUIT\r\n")
		c.wantEnd()
		c.Close()
	}
	return c, line
}

func TestSecondSessionIsRefused(t *testing.T) {
	s := start(t, nil)
	first := s.login(t, "alice@me.com")
	for range 5 {
		if _, line := s.tryLogin(t, "alice@me.com"); !strings.HasPrefix(line, "-ERR [IN-USE] ") {
			t.Fatalf("got %q", line)
		}
	}
	s.login(t, "bob@me.com") // another maildrop
	first.send("QUIT\r\n")
	first.want("+OK")
	// The maildrop is free by the time that +OK is read.
	if _, line := s.tryLogin(t, "alice@me.com"); !strings.HasPrefix(line, "+OK") {
		t.Fatalf("got %q", line)
	}
}

func TestInUseIsNoFailedLogin(t *testing.T) {
	s := start(t, nil)
	first := s.login(t, "alice@me.com")
	second := s.connect(t)
	for range 6 {
		second.send("USER alice@me.com\r\nPASS secret\r\n")
		second.want("+OK")
		second.want("-ERR [IN-USE]")
	}
	first.Close()
	eventually(t, "the first session ends", func() bool { return s.group.Open() == 1 })
	second.send("USER alice@me.com\r\nPASS secret\r\n")
	second.want("+OK")
	second.want("+OK")
}

func quickTakeover(c *pop3d.Config) { c.Settings.LockTakeoverAfter = time.Nanosecond }

// takeOver logs in until the session that holds the maildrop waits for its
// client, and so may lose it.
func (s *setup) takeOver(t *testing.T, name string) *client {
	t.Helper()
	var c *client
	eventually(t, "the maildrop is taken over", func() bool {
		var line string
		c, line = s.tryLogin(t, name)
		return strings.HasPrefix(line, "+OK")
	})
	return c
}

func TestSilentSessionIsTakenOverAndDoesNoHarm(t *testing.T) {
	for _, command := range []string{"QUIT\r\n", "DELE 1\r\nQUIT\r\n", "STAT\r\n", strings.Repeat("x", 300) + "\r\n"} {
		s := start(t, quickTakeover)
		first := s.login(t, "alice@me.com")
		second := s.takeOver(t, "alice@me.com")
		first.send(command)
		first.want("-ERR [SYS/TEMP] another session took this maildrop")
		if rest := first.wantEnd(); rest != "" {
			t.Errorf("after it came %q", rest)
		}
		if left := s.store.left(alice); len(left) != 3 {
			t.Errorf("%q deleted: left %v", command, left)
		}
		// The end of the first session leaves the second one's claim alone.
		second.send("DELE 1\r\n")
		second.want("+OK")
		eventually(t, "the first session ends", func() bool { return s.group.Open() == 1 })
		if _, line := s.tryLogin(t, "alice@me.com"); !strings.HasPrefix(line, "-ERR [IN-USE]") {
			t.Errorf("got %q", line)
		}
		second.send("QUIT\r\n")
		second.want("+OK")
		if !strings.Contains(s.log.String(), `reason="maildrop taken over"`) {
			t.Error("the reason is not logged")
		}
	}
}

// Also when the server has written all: what the kernel holds is on its way.
func TestBufferedTransferKeepsTheClaim(t *testing.T) {
	s := start(t, quickTakeover)
	const size = 900_000
	first := s.receiving(t, size)
	for range 5 {
		if _, line := s.tryLogin(t, "bob@me.com"); !strings.HasPrefix(line, "-ERR [IN-USE]") {
			t.Fatalf("got %q", line)
		}
	}
	if _, err := io.CopyN(io.Discard, first.In, size+int64(len(".\r\n"))); err != nil {
		t.Fatal(err)
	}
	s.takeOver(t, "bob@me.com")
}

// receiving returns a session of which the kernel holds a message, its size in
// octets, that its client has not read: only the reply line has been taken.
func (s *setup) receiving(t *testing.T, size int64) *client {
	t.Helper()
	s.store.put(bob, message{uidl: "x", text: "\r\n" + strings.Repeat("x", int(size)-4) + "\r\n"})
	// The client's end takes little, from the start.
	small := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		raw.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 128<<10) })
		return err
	}}
	conn, err := small.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := &client{kit.On(t, conn)}
	c.send("USER bob@me.com\r\nPASS secret\r\n")
	for range 3 {
		c.want("+OK")
	}
	c.send("RETR 1\r\n")
	c.want("+OK")
	eventually(t, "the server has read all", func() bool { return s.store.Reading() == 0 })
	return c
}

// The idle timeout does not cut off what the kernel still sends, nor the session
// behind it.
func TestBufferedTransferIsNotIdle(t *testing.T) {
	const idle, size = 800 * time.Millisecond, 1_800_000
	s := start(t, func(c *pop3d.Config) { c.Settings.IdleTimeout = idle })
	c := s.receiving(t, size)
	const slowly = size / 2 // what follows may have come in that time, and lie with the client
	const pieces = 10
	for range pieces {
		if _, err := io.CopyN(io.Discard, c.In, slowly/pieces); err != nil {
			t.Fatal(err)
		}
		<-time.After(idle / 5)
	}
	if _, err := io.CopyN(io.Discard, c.In, size-slowly); err != nil {
		t.Fatal(err)
	}
	c.want(".")
	c.send("NOOP\r\n")
	c.want("+OK")
	if c.wantEnd() != "" {
		t.Error("the timeout says something")
	}
}

// Who reads nothing of it is idle.
func TestBufferedTransferThatNobodyReadsIsEnded(t *testing.T) {
	const idle = 200 * time.Millisecond
	s := start(t, func(c *pop3d.Config) { c.Settings.IdleTimeout = idle })
	s.receiving(t, 900_000)
	begun := time.Now()
	eventually(t, "the session is ended", func() bool { return s.group.Open() == 0 })
	if waited := time.Since(begun); waited > 10*idle {
		t.Errorf("after %v", waited)
	}
}

func TestMarksKeepTheClaim(t *testing.T) {
	s := start(t, quickTakeover)
	first := s.login(t, "alice@me.com")
	first.send("DELE 1\r\n")
	first.want("+OK")
	if _, line := s.tryLogin(t, "alice@me.com"); !strings.HasPrefix(line, "-ERR [IN-USE]") {
		t.Fatalf("got %q", line)
	}
	first.send("RSET\r\n")
	first.want("+OK")
	s.takeOver(t, "alice@me.com")
}

// Silence beyond the idle timeout frees the maildrop also of a session with
// marks: that session is ended.
func TestIdleTimeoutFreesMarkedMaildrop(t *testing.T) {
	s := start(t, func(c *pop3d.Config) { c.Settings.IdleTimeout = 200 * time.Millisecond })
	first := s.login(t, "alice@me.com")
	first.send("DELE 1\r\n")
	first.want("+OK")
	first.wantEnd()
	second := s.takeOver(t, "alice@me.com")
	second.send("STAT\r\n")
	second.want("+OK 3 103")
}

func TestTransferKeepsTheClaim(t *testing.T) {
	s := start(t, quickTakeover)
	s.store.put(vast, message{uidl: "v", text: vastText})
	first := s.login(t, "vast@me.com")
	first.send("RETR 1\r\n")
	first.want("+OK")
	// The client has stopped reading in the middle of the message.
	if _, line := s.tryLogin(t, "vast@me.com"); !strings.HasPrefix(line, "-ERR [IN-USE]") {
		t.Fatalf("got %q", line)
	}
	first.Close()
	eventually(t, "the maildrop is free", func() bool {
		_, line := s.tryLogin(t, "vast@me.com")
		return strings.HasPrefix(line, "+OK")
	})
	if lines := s.log.lines(logs.Failed); len(lines) > 0 {
		t.Errorf("a client that went away was logged as our failure: %q", lines)
	}
}
