package main_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// shapes are contents as a client hands them in, and what must come out: every
// line ends in CRLF, and nothing else changes.
var shapes = []struct{ name, sent, want string }{
	{"a usual one", letter("usual", "It works.\r\n"), ""},
	{"dots", "\r\n.\r\n..\r\n.a\r\n...\r\n\r\n.\r\na.\r\n.\r\n", ""},
	{"dots in every line", strings.Repeat(".\r\n", 100_000), "\r\n" + strings.Repeat(".\r\n", 100_000)},
	{"no header", "\r\nbody alone\r\n", ""},
	{"no body", "Subject: alone\r\n", ""},
	{"blank lines at the end", letter("blank", "a\r\n\r\n\r\n\r\n"), ""},
	{"fields like ours", "Received: from a by b;\r\n\tMon, 1 Jan 2024 00:00:00 +0000\r\nReturn-Path: <x@y.zz>\r\nDelivered-To: q@me.com\r\n\r\nx\r\n", ""},
	{"long lines", letter("long", strings.Repeat("a", 998)+"\r\n"+strings.Repeat("b", 1000)+"\r\n"+
		strings.Repeat("c", 70_000)+"\r\n."+strings.Repeat("d", 1_000_000)+"\r\n"), ""},
	{"every octet", letter("octets", octets()), ""},
	{"UTF-8", letter("grün 緑 \u202e", "ßẞ\U0001F600\r\n"), ""},
	{"as long as a buffer, less one", "\r\n" + strings.Repeat("e", 256<<10-5) + "\r\n", ""},
	{"as long as a buffer", "\r\n" + strings.Repeat("e", 256<<10-4) + "\r\n", ""},
	{"as long as a buffer, and one more", "\r\n" + strings.Repeat("e", 256<<10-3) + "\r\n", ""},
	{"a dot where a buffer ends", "\r\n" + strings.Repeat("e", 256<<10-4) + "\r\n.\r\n" + strings.Repeat("f", 256<<10-5) + "\r\n..\r\n", ""},
	{"6 MB", letter("big", strings.Repeat(strings.Repeat("0123456789", 7)+"\r\n", 87_000)), ""},

	{"nothing", "", "\r\n"}, // smtplib ends it with a line
	{"no end of line", "Subject: cut\r\n\r\nlast", "Subject: cut\r\n\r\nlast\r\n"},
	{"bare LF", "Subject: unix\n\na\n\nb\n", "Subject: unix\r\n\r\na\r\n\r\nb\r\n\r\n"}, // smtplib adds a CRLF
	{"CR CR LF", "Subject: twice\r\r\n\r\r\na\r\r\n\r\r\nb\r\r\n", "Subject: twice\r\n\r\na\r\n\r\nb\r\n"},
	{"text without a header", "Hello world, this is a scan\r\n", "\r\nHello world, this is a scan\r\n"},
	{"a line of an mbox file", "From a@b Mon\r\n" + letter("mbox", "x\r\n"), "X-Mailbox-Line: From a@b Mon\r\n" + letter("mbox", "x\r\n")},
	{"bare CR", "Subject: mac\r\n\r\na\rb\r\rc\r\r\n", "Subject: mac\r\n\r\na b  c\r\n"},
}

// octets is every octet but CR and LF.
func octets() string {
	all := make([]byte, 0, 258)
	for i := range 256 {
		if i != '\r' && i != '\n' {
			all = append(all, byte(i))
		}
	}
	return string(all) + "\r\n"
}

// What is sent comes out octet for octet, whoever fetches it, and every count
// of octets is the same.
func TestMessagesStayWhole(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.mailbox("look@me.com")
	s.start()
	var sent, fetched []string
	for i, shape := range shapes {
		sent = append(sent, s.write(fmt.Sprintf("sent%d", i+1), shape.sent))
		fetched = append(fetched, s.path(fmt.Sprintf("fetched%d", i+1)))
	}
	if r := s.python("send_files", "look@me.com", sent...); r.code != 0 {
		t.Fatalf("exit %d", r.code)
	}
	if r := s.python("fetch_files", "look@me.com", fetched...); r.code != 0 {
		t.Fatalf("exit %d", r.code)
	}

	var list strings.Builder
	total := 0
	for i, shape := range shapes {
		want := shape.want
		if want == "" {
			want = shape.sent
		}
		byPython := readFile(t, fetched[i])
		same(t, shape.name, content(t, byPython), want)
		same(t, shape.name+" by curl", s.pop3(fmt.Sprintf("/%d", i+1)), byPython)
		fmt.Fprintf(&list, "%d %d\r\n", i+1, len(byPython))
		total += len(byPython)
	}
	same(t, "the list", s.pop3("/"), list.String())

	d, _ := dial(t, "127.0.0.1", s.server.pop3)
	d.Do("USER look@me.com", "+OK")
	d.Do("PASS secret", "+OK")
	d.Do("STAT", fmt.Sprintf("+OK %d %d", len(shapes), total))
	d.Do("QUIT", "+OK")
	var quotas []struct {
		Quota struct{ Octets, Messages int }
	}
	if err := json.Unmarshal([]byte(s.do("quota", "show", "look@me.com", "--json")), &quotas); err != nil {
		t.Fatal(err)
	}
	if q := quotas[0].Quota; q.Octets != total || q.Messages != len(shapes) {
		t.Errorf("quota: %+v, want %d messages with %d octets", q, len(shapes), total)
	}
}
