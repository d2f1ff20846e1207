package main_test

import (
	"strings"
	"testing"
	"time"
)

// A session ends with the first command that comes a second after the
// administrator's, and deletes nothing.
func TestAdministratorEndsSessions(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	commands := []struct {
		local, stdin, reply string
		args                []string
	}{
		{"disabled", "", "-ERR [SYS/PERM] the mailbox was disabled", []string{"mailbox", "disable", "disabled@me.com"}},
		{"changed", "other\n", "-ERR [SYS/PERM] the password was changed", []string{"mailbox", "passwd", "changed@me.com", "--password-stdin"}},
		{"removed", "", "-ERR [SYS/PERM] the mailbox was removed", []string{"mailbox", "remove", "removed@me.com", "--yes"}},
	}
	s.mailbox("first@me.com")
	for _, c := range commands {
		s.mailbox(c.local + "@me.com")
	}
	// A hash from elsewhere, which the login replaces.
	const hash = "$5$saltsalt$jbxAgW5X5LNk4yh.NmUXL1XLS9OoRHueeuIinWYHZ9D"
	s.doWith(hash+"\n", "mailbox", "add", "kept@me.com", "--hash-stdin")
	s.start()
	open := func(local, password string) *dialogue {
		t.Helper()
		d, _ := dial(t, "127.0.0.1", s.server.pop3)
		d.Do("USER "+local+"@me.com", "+OK")
		d.Do("PASS "+password, "+OK maildrop has 1 messages")
		return d
	}
	for _, last := range []string{"QUIT", "RETR 1", "NOOP"} {
		for _, c := range commands {
			if last != "QUIT" && c.local == "removed" {
				s.mailbox("removed@me.com")
			}
			if last == "QUIT" || c.local == "removed" {
				s.send(c.local+"@me.com", letter("one", ""))
			}
			d := open(c.local, "secret")
			d.Do("DELE 1", "+OK")
			if last != "QUIT" {
				d.Do("RSET", "+OK")
			}
			s.doWith(c.stdin, c.args...)
			time.Sleep(time.Second) // which the session may take to notice
			d.Do(last, c.reply)
			if rest := d.ends(); rest != "" {
				t.Errorf("%s: after it came %q", c.local, rest)
			}
			s.server.log.await(t, `msg="session end"`, "mailbox="+c.local+"@me.com", strings.TrimPrefix(c.reply, "-ERR [SYS/PERM] "))
			switch c.local {
			case "disabled":
				s.do("mailbox", "enable", "disabled@me.com")
			case "changed":
				s.doWith("secret\n", "mailbox", "passwd", "changed@me.com", "--password-stdin")
			}
		}
	}
	for _, local := range []string{"disabled", "changed"} {
		open(local, "secret").Do("QUIT", "+OK") // nothing is gone
	}

	s.send("kept@me.com", letter("one", ""))
	d, _ := dial(t, "127.0.0.1", s.server.pop3)
	d.Do("USER kept@me.com", "+OK")
	d.Do("PASS opensesame", "+OK")
	s.do("mailbox", "set", "kept@me.com", "--quota", "5MiB")
	time.Sleep(time.Second) // after which the session asks
	d.Do("STAT", "+OK 1 ")
	d.Do("DELE 1", "+OK")
	d.Do("QUIT", "+OK")
}
