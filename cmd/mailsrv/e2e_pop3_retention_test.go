package main_test

import (
	"database/sql"
	"fmt"
	"regexp"
	"strings"
	"testing"

	_ "github.com/mattn/go-sqlite3"
)

// capabilities is what CAPA says before a login, and after it as look@me.com.
func (s *site) capabilities(t *testing.T) (before, after string) {
	t.Helper()
	d, _ := dial(t, "127.0.0.1", s.server.pop3)
	fmt.Fprint(d, "CAPA\r\nUSER look@me.com\r\nPASS secret\r\nCAPA\r\nQUIT\r\n")
	before, after, _ = strings.Cut(d.ends(), "\r\n.\r\n")
	return before, after
}

var expire = regexp.MustCompile(`(?m)^EXPIRE .*$`)

func (s *site) wantExpire(t *testing.T, before, after string) {
	t.Helper()
	saidBefore, saidAfter := s.capabilities(t)
	if got := strings.TrimSpace(expire.FindString(saidBefore)); got != "EXPIRE "+before {
		t.Errorf("before the login: %q, want %s", got, before)
	}
	if got := strings.TrimSpace(expire.FindString(saidAfter)); got != "EXPIRE "+after {
		t.Errorf("after the login: %q, want %s", got, after)
	}
}

// What was retrieved goes when its time is over, and nothing else. What CAPA
// promises follows each change of the command line at once.
func TestRetention(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.mailbox("look@me.com")
	s.mailbox("other@me.com")
	s.start()
	s.wantExpire(t, "NEVER", "NEVER")
	s.do("domain", "set", "me.com", "--keep-retrieved", "14d")
	s.wantExpire(t, "14", "14")
	s.do("mailbox", "set", "look@me.com", "--keep-retrieved", "36h")
	s.wantExpire(t, "1 USER", "1")
	s.do("mailbox", "set", "other@me.com", "--keep-retrieved", "off")
	s.do("mailbox", "set", "look@me.com", "--keep-retrieved", "inherit")
	s.wantExpire(t, "14 USER", "14")

	for _, subject := range []string{"retrieved", "looked at", "new"} {
		s.send("look@me.com", letter(subject, ""))
	}
	retrieved := field(s.server.log.await(t, "msg=accepted", "to=look@me.com"), "id")
	s.pop3("/1")
	s.pop3("/", "-X", "TOP 2 100")
	s.stop()
	db, err := sql.Open("sqlite3", s.path("data/mailsrv.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	pass := func(days int) {
		t.Helper()
		if _, err := db.Exec("UPDATE entry SET retrieved = retrieved - 86400 * ?", days); err != nil {
			t.Fatal(err)
		}
	}
	pass(13)
	s.start()
	if list := s.pop3("/"); strings.Count(list, "\n") != 3 {
		t.Errorf("after 13 days: %q", list)
	}
	s.stop()
	pass(1)
	s.start()
	s.server.log.await(t, "msg=expunged", "mailbox=look@me.com", "id="+retrieved, "reason=expired")
	var left strings.Builder
	for i := range 2 {
		left.WriteString(s.pop3(fmt.Sprintf("/%d", i+1)))
	}
	if !strings.Contains(left.String(), "Subject: looked at") || !strings.Contains(left.String(), "Subject: new") {
		t.Errorf("left: %s", left.String())
	}
	if n := strings.Count(s.server.log.String(), "reason=expired"); n != 1 {
		t.Errorf("%d messages expired", n)
	}
}

// What a program deleted comes back under a new UIDL, so that programs which
// keep mail on the server fetch it again.
func TestUndoneDeletionIsFetchedAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.mailbox("look@me.com", "--undelete-for", "7d")
	s.start()
	s.send("look@me.com", letter("one", ""))
	s.send("look@me.com", letter("two", ""))
	fetch := func(want string) {
		t.Helper()
		s.mpopDo(s.server.pop3, "tls off", "keep on", "only_new on", "delivery mbox "+s.path("mbox"))
		if got := s.subjects("mbox"); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	fetch("one two")
	s.pop3("/", "-I", "-X", "DELE 1")
	s.server.log.await(t, "msg=expunged", "client=127.0.0.1", "mailbox=look@me.com")
	s.do("maildrop", "purge", "look@me.com", "--yes")
	if list := s.pop3("/"); strings.TrimSpace(list) != "" {
		t.Errorf("not deleted: %q", list)
	}
	s.send("look@me.com", letter("three", ""))
	if said := s.do("maildrop", "undelete", "look@me.com", "--since", "1h"); !strings.HasPrefix(said, "Brought back as new mail: 2 messages") {
		t.Errorf("said %q", said)
	}
	fetch("one two three one two")
	s.pop3("/", "-I", "-X", "DELE 1")

	// Without room the first that does not fit stops it, and the exit code says so.
	s.do("mailbox", "set", "look@me.com", "--messages", "2")
	r := s.mailsrv("", "maildrop", "undelete", "look@me.com")
	if r.code != 1 || r.stdout != "" || !strings.Contains(r.stderr, "did not fit and can still be brought back: raise the limit with: mailsrv mailbox set look@me.com") {
		t.Errorf("exit %d: %s", r.code, r.all())
	}
	s.do("mailbox", "set", "look@me.com", "--messages", "inherit")
	s.do("maildrop", "undelete", "look@me.com")
	fetch("one two three one two three")
}
