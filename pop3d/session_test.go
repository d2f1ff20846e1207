package pop3d_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"mailsrv/internal/logs"
	"mailsrv/internal/mail"
	"mailsrv/pop3d"
	"mailsrv/quota"
	"mailsrv/storage"
	"mailsrv/test/kit"
)

func TestLoginReadsOnlyTheSnapshot(t *testing.T) {
	s := start(t, nil)
	c := s.login(t, "alice@me.com")
	c.send("STAT\r\nNOOP\r\nQUIT\r\n")
	c.want("+OK 3 103")
	c.want("+OK")
	c.want("+OK")
	c.wantEnd()
	if got := s.store.called(); got != "OpenMaildrop" {
		t.Errorf("calls: %s", got)
	}
}

func TestEntriesAreReadOnce(t *testing.T) {
	s := start(t, nil)
	c := s.login(t, "alice@me.com")
	c.send("LIST 1\r\nUIDL 1\r\nLIST 2\r\nQUIT\r\n")
	c.wantEnd()
	if got := s.store.called(); got != "OpenMaildrop Entries" {
		t.Errorf("calls: %s", got)
	}
}

func TestQuitExpungesAllMarksInOneCall(t *testing.T) {
	s := start(t, nil)
	c := s.login(t, "alice@me.com")
	c.send("DELE 1\r\nDELE 3\r\nQUIT\r\n")
	c.want("+OK")
	c.want("+OK")
	c.want("+OK bye")
	c.wantEnd()
	if left := s.store.left(alice); !slices.Equal(left, []string{"two"}) {
		t.Errorf("left %v", left)
	}
	if got := s.store.called(); got != "OpenMaildrop Entries Update" {
		t.Errorf("calls: %s", got)
	}
}

func TestFailedExpungeIsTold(t *testing.T) {
	s := start(t, nil)
	s.store.fail("Update", errUnexpected)
	c := s.login(t, "alice@me.com")
	c.send("DELE 1\r\nQUIT\r\n")
	c.want("+OK")
	c.want("-ERR [SYS/TEMP] no message was deleted")
	c.wantEnd()
	if left := s.store.left(alice); len(left) != 3 {
		t.Errorf("left %v", left)
	}
}

func TestFailuresToOpenAreTemporary(t *testing.T) {
	s := start(t, nil)
	s.store.fail("OpenMaildrop", errUnexpected)
	c := s.connect(t)
	c.send("USER alice@me.com\r\nPASS secret\r\n")
	c.want("+OK")
	if line := c.want("-ERR [SYS/TEMP]"); strings.Contains(line, "fire") {
		t.Errorf("the cause is told: %q", line)
	}
	if !strings.Contains(s.log.String(), errUnexpected.Error()) {
		t.Error("the cause is not in the log")
	}
	// The claim did not stay behind, and a mailbox removed meanwhile is refused.
	s.store.fail("OpenMaildrop", storage.ErrNoMaildrop)
	c.send("USER alice@me.com\r\nPASS secret\r\n")
	c.want("+OK")
	c.want("-ERR [AUTH] wrong name or password")
	s.store.fail("OpenMaildrop", nil)
	s.store.fail("Entries", errUnexpected)
	c.send("USER alice@me.com\r\nPASS secret\r\nLIST\r\nRETR 1\r\nSTAT\r\n")
	c.want("+OK")
	c.want("+OK")
	c.want("-ERR [SYS/TEMP]")
	c.want("-ERR [SYS/TEMP]")
	c.want("+OK 3 103")
}

func TestDroppedConnectionDeletesNothing(t *testing.T) {
	s := start(t, nil)
	for _, last := range []string{"", "QUI", "QUIT", "RETR 2\r\nQUIT"} {
		c := s.login(t, "alice@me.com")
		c.send("DELE 1\r\n" + last)
		c.want("+OK")
		c.Close()
		eventually(t, "the session ends", func() bool { return s.group.Open() == 0 })
	}
	if left := s.store.left(alice); len(left) != 3 {
		t.Errorf("left %v", left)
	}
}

func TestLongLinesGoOutWhole(t *testing.T) {
	text := "Subject: long\r\n\r\n" + strings.Repeat("x", 200<<10) + "\r\n." + strings.Repeat(".", 100<<10) + "\r\n"
	for _, piece := range []int{0, 1000, 64 << 10} {
		s := start(t, func(c *pop3d.Config) { c.Store = newStore(piece) })
		s.store.put(bob, message{uidl: "long", text: text})
		c := s.login(t, "bob@me.com")
		c.send("RETR 1\r\nQUIT\r\n")
		c.want("+OK")
		want := strings.Replace(text, "\r\n.", "\r\n..", 1) + ".\r\n+OK bye\r\n"
		if got := c.wantEnd(); got != want {
			t.Errorf("pieces of %d: %d octets came, want %d", piece, len(got), len(want))
		}
	}
}

// huge is a store of messages that are longer than any that a test holds.
type huge struct{ pop3d.Store }

func (h huge) OpenMaildrop(context.Context, mail.MailboxID) (storage.Maildrop, error) {
	return hugeMaildrop{}, nil
}

type hugeMaildrop struct{ storage.Maildrop }

func (hugeMaildrop) Usage() quota.Usage { return quota.Usage{Octets: 12 << 30, Messages: 2} }

func (hugeMaildrop) Entries(context.Context, storage.UID, int) ([]storage.Entry, error) {
	return []storage.Entry{{UID: 1, UIDL: "a", Octets: 5 << 30}, {UID: 2, UIDL: "b", Octets: 7 << 30}}, nil
}

func TestTotalsBeyond32Bits(t *testing.T) {
	s := start(t, func(c *pop3d.Config) { c.Store = huge{c.Store} })
	c := s.login(t, "bob@me.com")
	c.send("STAT\r\nLIST\r\n")
	c.want("+OK 2 12884901888")
	c.want("+OK 2 messages (12884901888 octets)")
	c.want("1 5368709120")
	c.want("2 7516192768")
}

func TestManyMarks(t *testing.T) {
	const n = 1000
	s := start(t, nil)
	for i := range n {
		s.store.put(bob, message{uidl: fmt.Sprint("m", i), text: "x\r\n"})
	}
	c := s.login(t, "bob@me.com")
	for i := 1; i <= n; i += 2 {
		c.send(fmt.Sprintf("DELE %d\r\n", i))
		c.want("+OK")
	}
	c.send("STAT\r\nQUIT\r\n")
	c.want("+OK 500 1500")
	c.want("+OK")
	left := s.store.left(bob)
	if len(left) != n/2 || left[0] != "m1" || left[n/2-1] != "m999" {
		t.Errorf("left %d messages", len(left))
	}
}

func TestTLSStateBelongsToTheSession(t *testing.T) {
	s := start(t, func(c *pop3d.Config) { c.Settings.PlaintextLogin = pop3d.PlaintextNever })
	secure := s.dialTLS(t)
	if _, err := io.WriteString(secure, "USER alice@me.com\r\nPASS secret\r\nNOOP\r\n"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the login", func() bool { return len(s.log.lines(logs.Login)) == 1 })
	c := s.connect(t)
	c.send("USER bob@me.com\r\nSTLS\r\n")
	c.want("-ERR [SYS/PERM] no password without TLS")
	c.want("+OK begin TLS")
}

// A peer that stalls in the handshake is sent away, and holds up nobody meanwhile.
func TestStalledHandshake(t *testing.T) {
	patient := start(t, nil)
	quick := start(t, func(c *pop3d.Config) { c.Settings.HandshakeTimeout = 50 * time.Millisecond })
	for what, begin := range map[string]func(s *setup) *client{
		"STLS": func(s *setup) *client {
			c := s.connect(t)
			c.send("STLS\r\n")
			c.want("+OK")
			return c
		},
		"implicit TLS": func(s *setup) *client {
			return &client{kit.Dial(t, s.implicit)}
		},
	} {
		for _, hello := range []string{"", "\x16\x03\x01\x02\x00\x01"} {
			begin(patient).send(hello)
			c := patient.login(t, "alice@me.com")
			c.send("QUIT\r\n")
			c.wantEnd()
			c = begin(quick)
			c.send(hello)
			if rest := c.wantEnd(); rest != "" {
				t.Errorf("%s: got %q", what, rest)
			}
		}
	}
	eventually(t, "a line for each", func() bool {
		return strings.Count(strings.Join(quick.log.lines(logs.SessionEnd), ""), "TLS handshake failed") == 4
	})
}

func TestSettingsCountForSessionsToCome(t *testing.T) {
	s := start(t, nil)
	before := s.connect(t)
	s.SetSettings(pop3d.Settings{PlaintextLogin: pop3d.PlaintextNever, IdleTimeout: time.Minute, LockTakeoverAfter: time.Minute})
	after := s.connect(t)
	before.send("USER alice@me.com\r\n")
	before.want("+OK")
	after.send("USER alice@me.com\r\n")
	after.want("-ERR")
}

func TestIdleTimeoutSaysNothing(t *testing.T) {
	s := start(t, func(c *pop3d.Config) { c.Settings.IdleTimeout = 100 * time.Millisecond })
	c := s.login(t, "alice@me.com")
	c.send("DELE 1\r\n")
	c.want("+OK")
	c.send("QUI") // half a command is none
	if rest := c.wantEnd(); rest != "" {
		t.Errorf("got %q", rest)
	}
	if left := s.store.left(alice); len(left) != 3 {
		t.Errorf("left %v", left)
	}
	eventually(t, "the reason is logged", func() bool {
		return strings.Contains(s.log.String(), `reason="idle timeout"`)
	})
}

// Octets that never make a line do not keep a session alive.
func TestTrickleIsEnded(t *testing.T) {
	s := start(t, func(c *pop3d.Config) { c.Settings.IdleTimeout = 100 * time.Millisecond })
	c := s.connect(t)
	eventually(t, "the session is ended", func() bool {
		_, err := c.Write([]byte("x"))
		return err != nil
	})
}

func TestReaderThatNeverReadsIsEnded(t *testing.T) {
	s := start(t, func(c *pop3d.Config) { c.Settings.IdleTimeout = 100 * time.Millisecond })
	s.store.put(vast, message{uidl: "v", text: vastText})
	c := s.login(t, "vast@me.com")
	c.send("RETR 1\r\nDELE 1\r\nQUIT\r\n")
	eventually(t, "the session is ended", func() bool { return s.group.Open() == 0 })
	if !strings.Contains(s.log.String(), `reason="client does not read"`) {
		t.Error("the reason is not logged")
	}
	if left := s.store.left(vast); len(left) != 1 {
		t.Error("a message was deleted that nobody read")
	}
}

func TestPanicEndsOneSession(t *testing.T) {
	s := start(t, nil)
	other := s.login(t, "alice@me.com")
	c := s.login(t, "faulty@me.com")
	c.send("RETR 8\r\n")
	if rest := c.wantEnd(); strings.Contains(rest, "\r\n.\r\n") {
		t.Errorf("got %q", rest)
	}
	other.send("NOOP\r\n")
	other.want("+OK")
	s.login(t, "faulty@me.com") // its maildrop is free
	eventually(t, "it is logged", func() bool { return len(s.log.lines(logs.Failed)) > 0 })
	if lines := s.log.lines(logs.Failed); len(lines) != 1 || !strings.Contains(lines[0], "a fault of the test") || !strings.Contains(lines[0], "pop3d/transaction.go") {
		t.Errorf("logged %q", lines)
	}
}

// A name that nobody has does not fill the log.
func TestNamesInTheLogAreBounded(t *testing.T) {
	s := start(t, nil)
	c := s.connect(t)
	c.send("AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+strings.Repeat("n", 5000)+"\x1b\x00x")) + "\r\nQUIT\r\n")
	c.wantEnd()
	eventually(t, "the refusal", func() bool { return len(s.log.lines(logs.LoginFailed)) == 1 })
	if line := s.log.lines(logs.LoginFailed)[0]; len(line) > 600 || !strings.Contains(line, "nnn…") {
		t.Errorf("logged %d octets: %s", len(line), line)
	}
}

func TestLogLines(t *testing.T) {
	s := start(t, nil)
	c := s.connect(t)
	c.send("USER alice@me.com\r\nPASS hunter2\r\nUSER alive@me.com\r\nPASS hunter2\r\n" +
		"AUTH PLAIN AGFsaWNlQG1lLmNvbQBzZWNyZXQ=\r\nRETR 1\r\nTOP 1 0\r\nRETR 3\r\nDELE 3\r\nQUIT\r\n")
	c.wantEnd()
	eventually(t, "the session's end", func() bool { return len(s.log.lines(logs.SessionEnd)) == 1 })
	for event, want := range map[string][]string{
		logs.LoginFailed: {"mailbox=alice@me.com reason=\"wrong password\"\n", "mailbox=alive@me.com reason=\"no such mailbox\" delay=4s\n"},
		logs.Login:       {"proto=pop3 client=127.0.0.1 tls=\"\" mailbox=alice@me.com messages=3 octets=103"},
		logs.Expunged:    {"client=127.0.0.1 tls=\"\" mailbox=alice@me.com messages=1 octets=26 id=three"},
		logs.SessionEnd:  {"mailbox=alice@me.com reason=quit duration="},
	} {
		lines := s.log.lines(event)
		if len(lines) != len(want) {
			t.Errorf("%s: %q", event, lines)
			continue
		}
		for i := range want {
			if !strings.Contains(lines[i], want[i]) {
				t.Errorf("%s: %q", event, lines[i])
			}
		}
	}
	if end := s.log.lines(logs.SessionEnd)[0]; !strings.Contains(end, "messages=2 octets=74") {
		t.Errorf("retrieved: %q", end)
	}
}

func TestPasswordsAreNeverLogged(t *testing.T) {
	s := start(t, nil)
	for _, dialogue := range []string{
		"USER alice@me.com\r\nPASS hunter2\r\n",
		"PASS hunter2\r\n",
		"USER trouble@me.com\r\nPASS hunter2\r\n",
		"USER busy@me.com\r\nPASS hunter2\r\n",
		"AUTH PLAIN AGFsaWNlQG1lLmNvbQBodW50ZXIy\r\n",
		"AUTH LOGIN\r\nYWxpY2VAbWUuY29t\r\naHVudGVyMg==\r\n",
		"AUTH LOGIN\r\nYWxpY2VAbWUuY29t\r\nhunter2\r\n",
		"PASS " + strings.Repeat("hunter2", 100) + "\r\n",
		"hunter2\r\n",
		"PASS hunter2",
	} {
		c := s.connect(t)
		c.send(dialogue)
		if dialogue[len(dialogue)-1] == '\n' {
			c.send("QUIT\r\n")
			c.wantEnd()
		}
		c.Close()
	}
	eventually(t, "all sessions end", func() bool { return s.group.Open() == 0 })
	for _, secret := range []string{"hunter2", "AGFsaWNl", "aHVudGVy"} {
		if strings.Contains(s.log.String(), secret) {
			t.Errorf("%s is in the log", secret)
		}
	}
}
