package pop3d_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"mailsrv/internal/logs"
	"mailsrv/storage"
)

// notedAfter plays a session of passing@me.com and returns what was noted as
// retrieved, and the store's calls.
func notedAfter(t *testing.T, dialogue string) (noted, calls string) {
	t.Helper()
	s := start(t, nil)
	c := s.login(t, "passing@me.com")
	c.send(dialogue)
	if strings.HasSuffix(dialogue, "QUIT\r\n") {
		c.wantEnd()
	} else {
		c.send("NOOP\r\n")
		for c.line() != "+OK" {
		}
	}
	c.Close()
	eventually(t, "the session ends", func() bool { return s.group.Open() == 0 })
	return s.store.retrieved(), s.store.called()
}

func TestRetrievedIsNotedAtQuit(t *testing.T) {
	for _, test := range []struct{ name, dialogue, noted string }{
		{"whole", "RETR 1\r\nRETR 3\r\nQUIT\r\n", "one three"},
		{"twice", "RETR 2\r\nRETR 2\r\nQUIT\r\n", "two"},
		{"TOP is no retrieval", "TOP 1 999\r\nQUIT\r\n", ""},
		{"LIST is none", "LIST\r\nUIDL\r\nRETR 9\r\nQUIT\r\n", ""},
		{"no QUIT", "RETR 1\r\n", ""},
		{"deleted too", "RETR 1\r\nRETR 2\r\nDELE 1\r\nQUIT\r\n", "two"},
		{"RSET", "RETR 1\r\nDELE 1\r\nRSET\r\nQUIT\r\n", "one"},
	} {
		if noted, calls := notedAfter(t, test.dialogue); noted != test.noted {
			t.Errorf("%s: noted %q, want %q (%s)", test.name, noted, test.noted, calls)
		} else if updated := strings.Count(calls, "Update"); updated > 1 || (updated == 1) != (noted != "") {
			t.Errorf("%s: calls %s", test.name, calls)
		}
	}
}

// Where nothing expires, a QUIT without marks writes nothing.
func TestRetrievedIsNotNotedWithoutExpiry(t *testing.T) {
	s := start(t, nil)
	c := s.login(t, "alice@me.com")
	c.send("RETR 1\r\nQUIT\r\n")
	c.wantEnd()
	if got := s.store.called(); got != "OpenMaildrop Entries Message" {
		t.Errorf("calls: %s", got)
	}
}

// A message that broke off, or that the client did not read to its end, is not
// retrieved, whatever came behind.
func TestPartOfAMessageIsNotRetrieved(t *testing.T) {
	s := start(t, nil)
	s.store.put(passing,
		message{uidl: "broken", text: "Subject: x\r\n\r\nbody\r\n", nextErr: storage.ErrDamaged, nextAt: 14},
		message{uidl: "vast", text: vastText},
	)
	c := s.login(t, "passing@me.com")
	c.send("RETR 4\r\nQUIT\r\n")
	c.wantEnd()
	c = s.login(t, "passing@me.com")
	c.send("RETR 5\r\nQUIT\r\n")
	c.want("+OK")
	c.Close()
	eventually(t, "the session ends", func() bool { return s.group.Open() == 0 })
	if noted, calls := s.store.retrieved(), s.store.called(); noted != "" || strings.Contains(calls, "Update") {
		t.Errorf("noted %s, calls %s", noted, calls)
	}
}

// When it cannot be noted, the messages stay longer than they had to: nothing
// that the client need hear of.
func TestFailedNoteIsLogged(t *testing.T) {
	s := start(t, nil)
	s.store.fail("Update", errUnexpected)
	c := s.login(t, "passing@me.com")
	c.send("TOP 1 0\r\nRETR 1\r\nQUIT\r\n")
	if got := c.wantEnd(); !strings.HasSuffix(got, "\r\n+OK bye\r\n") {
		t.Errorf("got %q", got)
	}
	if lines := s.log.lines(logs.Failed); len(lines) != 1 || !strings.Contains(lines[0], errUnexpected.Error()) {
		t.Errorf("logged %q", lines)
	}
}

// Who deleted what stands in the log: a long list on several lines, none of
// them long.
func TestLogNamesWhatWasDeleted(t *testing.T) {
	const n = 1000
	s := start(t, nil)
	uidl := func(i int) string { return fmt.Sprintf("%026d", i) }
	for i := range n {
		s.store.put(bob, message{uidl: uidl(i), text: "x\r\n"})
	}
	c := s.login(t, "bob@me.com")
	var commands strings.Builder
	for i := 1; i < n; i++ { // all but the last
		fmt.Fprintf(&commands, "DELE %d\r\n", i)
	}
	c.send(commands.String() + "QUIT\r\n")
	c.wantEnd()
	lines := s.log.lines(logs.Expunged)
	if first := lines[0]; !strings.Contains(first, " messages=999 octets=2997 id=") {
		t.Errorf("the first line: %s", first)
	}
	var named []string
	for i, line := range lines {
		if len(line) > 1200 || !strings.Contains(line, " client=127.0.0.1 tls=\"\" mailbox=bob@me.com ") || !strings.HasPrefix(line, "time=20") {
			t.Errorf("line %d of %d octets: %s", i, len(line), line)
		}
		if i > 0 && strings.Contains(line, "messages=") {
			t.Errorf("counted twice: %s", line)
		}
		named = append(named, strings.Fields(regexp.MustCompile(`id="?([^"\n]*)`).FindStringSubmatch(line)[1])...)
	}
	if len(named) != n-1 || named[0] != uidl(0) || named[n-2] != uidl(n-2) {
		t.Errorf("%d are named", len(named))
	}
}
