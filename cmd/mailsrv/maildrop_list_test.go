package main

import (
	"database/sql"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// change works on the rows of a store, as a failing disk might.
func (h *house) change(statement string) {
	h.t.Helper()
	db, err := sql.Open("sqlite3", filepath.Join(h.dir, "mailsrv.db"))
	if err != nil {
		h.t.Fatal(err)
	}
	defer db.Close()
	if result, err := db.Exec(statement); err != nil {
		h.t.Fatal(err)
	} else if n, _ := result.RowsAffected(); n != 1 {
		h.t.Fatalf("%s: %d rows", statement, n)
	}
}

// listed is a house with messages to look through: one that is whole, one with
// orders to a terminal, one too long for a line, a damaged one, and a large one
// damaged behind its head.
func listed(t *testing.T) *house {
	h := newHouse(t)
	h.do("", "domain", "add", "me.com")
	h.do("", "mailbox", "add", "look@me.com", "--generate")
	h.deliverTexts("look@me.com",
		"Date: Sun, 29 Nov 2026 19:13:00 +0100\r\nFrom: Anna <anna@b.example>\r\nSubject: =?utf-8?q?gr=C3=BCn?=\r\n\r\ntext\r\n",
		"From: \x1b]0;x\x07\r\nSubject: =?utf-8?q?=1B[31m=0Ared?=\r\n\r\n",
		"From: "+strings.Repeat("f", 100)+"@b.example\r\nSubject: "+strings.Repeat("s", 100)+"\r\n\r\n",
		"Subject: damaged\r\n\r\n",
		"Subject: large\r\n\r\n"+strings.Repeat("0123456789abcd\r\n", 40_000),
	)
	h.change("UPDATE body SET data = CAST('Subject: daMaged' AS BLOB) WHERE data = CAST('Subject: damaged' || char(13,10,13,10) AS BLOB)")
	h.change("UPDATE chunk SET data = zeroblob(length(data)) WHERE id = (SELECT max(id) FROM chunk)")
	return h
}

// The message on which a program stumbles can be found.
func TestMaildropList(t *testing.T) {
	h := listed(t)
	date := time.Date(2026, 11, 29, 18, 13, 0, 0, time.UTC).Local().Format("2006-01-02 15:04")
	const none = "-" + "               "
	want := "NUMBER    SIZE  UIDL   DATE              FROM                            SUBJECT\n" +
		"     1    108B  uidl1  " + date + "  anna@b.example                  grün\n" +
		"     2     52B  uidl2  " + none + `  \x1b]0;x\a                      \x1b[31m\nred` + "\n" +
		"     3    231B  uidl3  " + none + "  " + strings.Repeat("f", 29) + "…  " + strings.Repeat("s", 49) + "…\n" +
		"     4     20B  uidl4  " + none + "  -                               (damaged on the disk: see: mailsrv check)\n" +
		"     5  625KiB  uidl5  " + none + "  -                               large\n"
	if got := h.do("", "maildrop", "list", "look@me.com"); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestMaildropListOnATerminal(t *testing.T) {
	h := listed(t)
	for columns, cut := range map[uint16][2]int{0: {16, 24}, 120: {30, 47}, 200: {30, 127}} {
		h.columns = columns
		seen, code := h.conversation(nil, "maildrop", "list", "look@me.com")
		lines := strings.Split(seen, "\n")
		if code != exitDone || len(lines) != 7 {
			t.Fatalf("exit %d\n%s", code, seen)
		}
		_, rest, _ := strings.Cut(lines[3], "ff")
		from, subject := 2+strings.Count(rest, "f"), strings.Count(rest, "s")
		if whole := len([]rune(lines[3])); from > cut[0] || subject > cut[1] || columns > 0 && whole > int(columns) {
			t.Errorf("%d columns: %d of the sender, %d of the subject, %d in all", columns, from, subject, whole)
		}
		if columns == 200 && subject != 100 {
			t.Errorf("the subject is cut where there is room: %s", lines[3])
		}
		if strings.ContainsAny(seen, "\x1b\a") {
			t.Errorf("orders to the terminal: %q", seen)
		}
	}
}

func TestMaildropListAsJSON(t *testing.T) {
	h := listed(t)
	text := h.do("", "maildrop", "list", "look@me.com", "--json")
	var list []map[string]any
	if err := json.Unmarshal([]byte(text), &list); err != nil || len(list) != 5 {
		t.Fatalf("%v\n%s", err, text)
	}
	for i, want := range []map[string]any{
		{"number": 1.0, "octets": 108.0, "uidl": "uidl1", "date": "2026-11-29T18:13:00Z", "from": "Anna <anna@b.example>", "subject": "grün"},
		{"number": 2.0, "octets": 52.0, "uidl": "uidl2", "date": nil, "from": "\x1b]0;x\a", "subject": "\x1b[31m\nred"},
		{"number": 3.0, "octets": 231.0, "uidl": "uidl3", "date": nil, "from": strings.Repeat("f", 100) + "@b.example", "subject": strings.Repeat("s", 100)},
		{"number": 4.0, "octets": 20.0, "uidl": "uidl4", "date": nil, "from": "", "subject": "", "problem": "damaged on the disk: see: mailsrv check"},
		{"number": 5.0, "octets": 640018.0, "uidl": "uidl5", "date": nil, "from": "", "subject": "large"},
	} {
		for key, value := range want {
			if list[i][key] != value {
				t.Errorf("message %d: %s is %#v, want %#v", i+1, key, list[i][key], value)
			}
		}
		if len(list[i]) != len(want) {
			t.Errorf("message %d has %d keys, want %d", i+1, len(list[i]), len(want))
		}
	}
	if strings.ContainsAny(text, "\x1b\a") {
		t.Errorf("orders to a terminal: %q", text)
	}
}
