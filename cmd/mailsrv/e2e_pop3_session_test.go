package main_test

import (
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"
)

// loginPOP3 opens the maildrop of look@me.com, or returns why not.
func (s *site) loginPOP3(t *testing.T) (d *dialogue, refusal string) {
	t.Helper()
	d, _ = dial(t, "127.0.0.1", s.server.pop3)
	d.Do("USER look@me.com", "+OK")
	fmt.Fprint(d, "PASS secret\r\n")
	if line := d.Line(); !strings.HasPrefix(line, "+OK") {
		d.Close()
		return nil, line
	}
	return d, ""
}

// One RETR goes on for longer than pop3.idle_timeout and sends no command, while
// mail arrives and another program asks for the maildrop.
func TestSlowTransferOfTheServer(t *testing.T) {
	t.Parallel()
	s := newSite(t, "pop3.lock_takeover_after: 1s", "pop3.lock_wait: 0", "pop3.idle_timeout: 3s")
	s.mailbox("look@me.com")
	s.start()
	const size = 24 << 20
	want := letter("long", strings.Repeat(strings.Repeat("x", 1022)+"\r\n", size>>10))
	s.send("look@me.com", want)

	slow, refusal := s.loginPOP3(t)
	if slow == nil {
		t.Fatal(refusal)
	}
	fmt.Fprint(slow, "RETR 1\r\n")
	var octets int
	if _, err := fmt.Sscanf(slow.Line(), "+OK %d octets", &octets); err != nil {
		t.Fatal(err)
	}
	var message strings.Builder
	const pieces = 40 // of the first half: with it in hand, all may have come and wait
	pace := time.NewTicker(100 * time.Millisecond)
	defer pace.Stop()
	for range pieces {
		if _, err := io.CopyN(&message, slow.In, size/2/pieces); err != nil {
			t.Fatalf("ended after %d octets: %v", message.Len(), err)
		}
		if _, refusal := s.loginPOP3(t); !strings.HasPrefix(refusal, "-ERR [IN-USE]") {
			t.Fatalf("after %d octets: %q", message.Len(), refusal)
		}
		s.send("look@me.com", letter("meanwhile", ""))
		<-pace.C
	}
	if _, err := io.CopyN(&message, slow.In, int64(octets-message.Len())); err != nil {
		t.Fatal(err)
	}
	same(t, "the message", content(t, message.String()), want)
	if end := slow.Line(); end != "." {
		t.Errorf("the end: %q", end)
	}
	slow.Do("STAT", fmt.Sprintf("+OK 1 %d", octets))
	slow.Do("DELE 1", "+OK")
	slow.Do("QUIT", "+OK")
	line := s.server.log.await(t, "msg=expunged", "client=127.0.0.1", "mailbox=look@me.com", "messages=1")
	if id := field(s.server.log.await(t, "msg=accepted", "octets="+fmt.Sprint(octets)), "id"); id == "" || field(line, "id") != id {
		t.Errorf("the log does not name what was deleted: %s", line)
	}
	if list := s.pop3("/"); strings.Count(list, "\n") != pieces {
		t.Errorf("%d messages came in the meantime: %q", pieces, list)
	}
}

// field is the value of a key in a line of the log.
func field(line, key string) string {
	_, value, _ := strings.Cut(line, " "+key+"=")
	value, _, _ = strings.Cut(value, " ")
	return strings.TrimSpace(value)
}

func TestLoginDelayOfTheServer(t *testing.T) {
	t.Parallel()
	s := newSite(t, "pop3.login_delay: 2s")
	s.mailbox("look@me.com")
	s.start()
	capa, _ := dial(t, "127.0.0.1", s.server.pop3)
	fmt.Fprint(capa, "CAPA\r\nQUIT\r\n")
	if all := capa.ends(); !strings.Contains(all, "\r\nLOGIN-DELAY 2\r\n") {
		t.Errorf("got %q", all)
	}
	begun := time.Now()
	first, _ := s.loginPOP3(t)
	first.Do("QUIT", "+OK")
	if _, refusal := s.loginPOP3(t); !strings.HasPrefix(refusal, "-ERR [LOGIN-DELAY] ") {
		t.Errorf("got %q", refusal)
	}
	for again, _ := s.loginPOP3(t); again == nil; again, _ = s.loginPOP3(t) {
		if time.Since(begun) > patience {
			t.Fatal("the mailbox stays closed")
		}
		time.Sleep(100 * time.Millisecond)
	}
	if waited := time.Since(begun); waited < 2*time.Second {
		t.Errorf("open again after %v", waited)
	}
}

// A library that connects again without waiting for the answer to its QUIT finds the
// maildrop as that left it; a program that meets another one for long is told, after
// as long as the configuration says at that moment.
func TestLoginWaitsForAnotherProgram(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.mailbox("look@me.com")
	s.start()
	const messages = 20
	for range messages {
		s.send("look@me.com", letter("one", ""))
	}
	for left := messages; left > 0; left-- {
		d, refusal := s.loginPOP3(t)
		if d == nil {
			t.Fatalf("with %d left: %s", left, refusal)
		}
		d.Do("STAT", fmt.Sprintf("+OK %d ", left))
		d.Do("DELE 1", "+OK")
		fmt.Fprint(d, "QUIT\r\n")
	}

	holder, refusal := s.loginPOP3(t)
	if holder == nil {
		t.Fatal(refusal)
	}
	s.configure("pop3.lock_wait: 1s")
	s.signal(syscall.SIGHUP)
	s.server.log.await(t, "msg=reloaded", "changed=pop3.lock_wait")
	begun := time.Now()
	if _, refusal := s.loginPOP3(t); !strings.HasPrefix(refusal, "-ERR [IN-USE] another program has this mailbox open") {
		t.Errorf("got %q", refusal)
	}
	if waited := time.Since(begun); waited < time.Second {
		t.Errorf("told after %v", waited)
	}
	s.server.log.await(t, "login failed", "mailbox=look@me.com", `reason="another session has the maildrop open"`)
	holder.Do("QUIT", "+OK")
}
