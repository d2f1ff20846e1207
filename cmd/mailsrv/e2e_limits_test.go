package main_test

import (
	"fmt"
	"strings"
	"testing"
)

// One client that takes all the connections it can get is no bother to others.
func TestLimitsPerClient(t *testing.T) {
	t.Parallel()
	s := newSite(t, "smtp.max_connections_per_client: 2", "pop3.max_connections_per_client: 2",
		"smtp.max_connections: 6", "pop3.max_connections: 6")
	s.mailbox("look@me.com")
	s.start()
	for _, protocol := range []struct{ address, greeting, refusal, over string }{
		{s.server.smtp, "220 ", "421 4.7.0 ", "221 "},
		{s.server.pop3, "+OK ", "-ERR [SYS/TEMP] ", "+OK"},
	} {
		var open []*dialogue
		for i := range 4 {
			d, greeting := dial(t, "127.0.0.2", protocol.address)
			want := protocol.greeting
			if i >= 2 {
				want = protocol.refusal
				d.ends()
			} else {
				open = append(open, d)
			}
			if !strings.HasPrefix(greeting, want) {
				t.Errorf("connection %d: %s, want %s", i+1, greeting, want)
			}
		}
		// Others come in until the limit of all.
		for i := range 4 {
			d, greeting := dial(t, fmt.Sprintf("127.0.0.%d", 3+i), protocol.address)
			if !strings.HasPrefix(greeting, protocol.greeting) {
				t.Errorf("client %d: %s", 3+i, greeting)
			}
			open = append(open, d)
		}
		d, greeting := dial(t, "127.0.0.9", protocol.address)
		if !strings.HasPrefix(greeting, protocol.refusal) {
			t.Errorf("beyond the limit of all: %s", greeting)
		}
		d.ends()
		for _, d := range open {
			d.Do("QUIT", protocol.over)
			d.ends()
		}
	}
	// Who left has made room.
	s.send("look@me.com", letter("one", ""), "--interface", "127.0.0.2")
	s.pop3("/1", "--interface", "127.0.0.2")
}

// Guessing passwords from one network slows down that network, not the owner.
func TestGuessersDoNotLockOut(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.mailbox("look@me.com")
	s.start()
	s.send("look@me.com", letter("one", ""))
	s.pop3("/1") // the owner is known here
	d, _ := dial(t, "127.0.0.66", s.server.pop3)
	for i := range 3 {
		d.Do("USER look@me.com", "+OK")
		d.Do(fmt.Sprint("PASS guess", i), "-ERR [AUTH]")
	}
	d.ends()
	s.pop3("/1")
	line := s.server.log.await(t, "login failed", "client=127.0.0.66", "mailbox=look@me.com")
	if strings.Contains(line+s.server.log.String(), "guess") {
		t.Error("a password is in the log")
	}
}
