package main_test

import (
	"strings"
	"testing"
)

// Exit codes of swaks and curl for content, and recipients, that are refused.
const (
	swaksContentRefused = 26
	curlSendFailed      = 55
)

// kib is a letter whose body has n KiB.
func kib(subject string, n int) string {
	return letter(subject, strings.Repeat(strings.Repeat("a", 62)+"\r\n", n<<10/64))
}

// upload sends by curl, which declares the size, and returns what became of it.
func (s *site) upload(to, message string) result {
	s.t.Helper()
	file := s.write("upload", message)
	return s.curl("", "-v", "--url", "smtp://"+s.server.smtp, "--mail-from", "you@example.org", "--mail-rcpt", to, "-T", file)
}

func TestFullMaildropTakesMailAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.mailbox("look@me.com", "--quota", "10KiB")
	s.start()
	s.send("look@me.com", kib("one", 6))

	if r := s.upload("look@me.com", kib("two", 6)); r.code != curlSendFailed || !strings.Contains(r.stderr, "\n< 552 5.2.2 ") {
		t.Errorf("declared: exit %d", r.code)
	}
	file := s.write("content", strings.ReplaceAll(kib("two", 6), "\r\n", "\n"))
	if r := s.swaks("--to", "look@me.com", "--data", "@"+file); r.code != swaksContentRefused || !strings.Contains(r.stdout, "<** 552 5.2.2 ") {
		t.Errorf("not declared: exit %d", r.code)
	}
	if r := s.upload("look@me.com", kib("large", 11)); r.code != curlSendFailed || !strings.Contains(r.stderr, "\n< 552 5.2.3 ") {
		t.Errorf("more than the limit: exit %d", r.code)
	}
	s.send("look@me.com", kib("small", 1))

	s.pop3("/", "-I", "-X", "DELE 1")
	s.send("look@me.com", kib("two", 6))
	if got := s.do("quota", "show", "look@me.com"); !strings.Contains(got, " 2 ") {
		t.Errorf("want 2 messages:\n%s", got)
	}
}

func TestFullMaildropDefers(t *testing.T) {
	t.Parallel()
	s := newSite(t, "quota.when_full: defer", "quota.default_messages: 1")
	s.mailbox("look@me.com")
	s.start()
	s.send("look@me.com", letter("one", ""))
	if r := s.swaks("--to", "look@me.com"); r.code != swaksNoRecipient || !strings.Contains(r.stdout, "<** 452 4.2.2 ") {
		t.Errorf("exit %d", r.code)
	}
	s.pop3("/", "-I", "-X", "DELE 1")
	s.swaksDo("--to", "look@me.com")
}

// With several recipients of whom one turns out to be full only at the end,
// nothing is stored; each retry by itself gets its own answer.
func TestSomeAreFull(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.mailbox("look@me.com", "--quota", "2KiB")
	s.mailbox("b@me.com")
	s.start()
	data := "@" + s.write("content", strings.ReplaceAll(kib("three", 3), "\r\n", "\n"))
	if r := s.swaks("--to", "look@me.com,b@me.com", "--data", data); r.code != swaksContentRefused || !strings.Contains(r.stdout, "<** 452 4.2.2 ") {
		t.Errorf("together: exit %d", r.code)
	}
	if got := s.do("maildrop", "list", "b@me.com", "--json"); strings.Contains(got, "octets") {
		t.Errorf("b has the message: %s", got)
	}
	// The retry: one of the two must go by itself now.
	if r := s.swaks("--to", "b@me.com,look@me.com", "--data", data); r.code != 0 || !strings.Contains(r.stdout, "<** 452 4.5.3 ") {
		t.Errorf("again: exit %d", r.code)
	}
	if r := s.swaks("--to", "look@me.com", "--data", data); r.code != swaksContentRefused || !strings.Contains(r.stdout, "<** 552 5.2.3 ") {
		t.Errorf("alone: exit %d", r.code)
	}
	if got := s.do("maildrop", "list", "b@me.com", "--json"); strings.Count(got, "octets") != 1 {
		t.Errorf("b has not the message: %s", got)
	}
}

// What the command line changes counts at once, the server running.
func TestChangesCountAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start()
	refused := func(reply string) {
		t.Helper()
		if r := s.swaks("--to", "look@me.com"); r.code != swaksNoRecipient || !strings.Contains(r.stdout, "<** "+reply) {
			t.Errorf("exit %d, want %s", r.code, reply)
		}
	}
	login := func(password string) bool {
		t.Helper()
		return s.curl("", "--url", "pop3://"+s.server.pop3, "--user", "look@me.com:"+password).code == 0
	}
	refused("550 5.1.1 ")
	s.mailbox("look@me.com")
	s.swaksDo("--to", "look@me.com")
	if !login("secret") {
		t.Error("a new mailbox does not log in")
	}

	s.doWith("changed\n", "mailbox", "passwd", "look@me.com", "--password-stdin")
	if login("secret") || !login("changed") {
		t.Error("a changed password does not count")
	}

	s.do("quota", "set", "look@me.com", "500")
	refused("552 5.2.2 ")
	s.do("quota", "set", "look@me.com", "inherit")
	s.swaksDo("--to", "look@me.com")
	s.do("domain", "set", "me.com", "--messages", "2")
	refused("552 5.2.2 ")
	s.do("domain", "set", "me.com", "--messages", "0")
	s.swaksDo("--to", "look@me.com")

	s.mailbox("b@me.com")
	s.do("domain", "set", "me.com", "--postmaster", "b@me.com")
	s.do("mailbox", "disable", "look@me.com")
	refused("550 5.2.1 ")
	if login("changed") {
		t.Error("a disabled mailbox logs in")
	}
	s.do("mailbox", "enable", "look@me.com")
	s.swaksDo("--to", "look@me.com")
	if !login("changed") {
		t.Error("an enabled mailbox does not log in")
	}

	s.do("mailbox", "remove", "look@me.com", "--yes")
	refused("550 5.1.1 ")
	s.do("alias", "add", "@me.com", "b@me.com")
	s.swaksDo("--to", "look@me.com")
	s.do("alias", "remove", "@me.com")
	s.do("domain", "set", "me.com", "--postmaster", "")
	s.do("mailbox", "remove", "b@me.com", "--yes")
	s.do("domain", "remove", "me.com")
	refused("550 5.7.1 ")
}
