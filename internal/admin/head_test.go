package admin

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestHeads(t *testing.T) {
	date := time.Date(2026, 11, 29, 18, 13, 0, 0, time.UTC)
	for _, row := range []struct {
		name, text string
		want       Head
	}{
		{"plain", "Received: x\r\nDate: Sun, 29 Nov 2026 19:13:00 +0100\r\nFrom: Anna <anna@b.example>\r\nSubject: hello\r\n\r\nSubject: body\r\n",
			Head{date, "Anna <anna@b.example>", "anna@b.example", "hello"}},
		{"any case, no space, a comment", "DATE:Sun, 29 Nov 2026 19:13:00 +0100 (CET)\r\nfrom:a@b.example\r\nsubject :hello\r\n\r\n",
			Head{date, "a@b.example", "a@b.example", "hello"}},
		{"encoded words", "From: =?iso-8859-1?q?J=FCrgen?= <j@b.example>\r\nSubject: =?utf-8?B?8J2Ehg==?= =?utf-8?q?_=C3=BC?=\r\n\r\n",
			Head{From: "Jürgen <j@b.example>", Sender: "j@b.example", Subject: "𝄆 ü"}},
		{"a control character in a word", "Subject: =?utf-8?q?=1B[31m=0D=0A?=\r\n\r\n", Head{Subject: "\x1b[31m\r\n"}},
		{"a character set that is not known", "Subject: =?koi8-r?q?=C1?= x\r\n\r\n", Head{Subject: "=?koi8-r?q?=C1?= x"}},
		{"a broken word", "Subject: =?utf-8?B?!?= x\r\n\r\n", Head{Subject: "=?utf-8?B?!?= x"}},
		{"folded", "Subject: one\r\n two\r\n\tthree\r\nFrom:\r\n a@b.example\r\n\r\n", Head{From: "a@b.example", Sender: "a@b.example", Subject: "one two three"}},
		{"folded before any field", " lost\r\nSubject: x\r\n\r\n", Head{Subject: "x"}},
		{"a line that is no field", "nonsense\r\n continued\r\nSubject: x\r\n\r\n", Head{Subject: "x"}},
		{"twice", "Subject: one\r\nSubject: two\r\n three\r\n\r\n", Head{Subject: "one"}},
		{"no address", "From: undisclosed\r\n\r\n", Head{From: "undisclosed", Sender: "undisclosed"}},
		{"no date", "Date: yesterday\r\n\r\n", Head{}},
		{"a date beyond years", "Date: Fri, 31 Dec 9999 23:59:59 -2359\r\n\r\n", Head{}},
		{"octets that are no text", "Subject: gr\xfcn\r\n\r\n", Head{Subject: "gr\ufffdn"}},
		{"no end of the head", "Subject: x", Head{Subject: "x"}},
		{"nothing", "", Head{}},
		{"no head", "\r\nSubject: x\r\n", Head{}},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := parseHead([]byte(row.text))
			if !got.Date.Equal(row.want.Date) {
				t.Errorf("date %v", got.Date)
			}
			got.Date = row.want.Date
			if got != row.want {
				t.Errorf("got  %+v\nwant %+v", got, row.want)
			}
		})
	}
}

// A long field is cut at its bound, whether it is folded or not.
func TestHeadIsBounded(t *testing.T) {
	long := strings.Repeat("a", 100_000)
	for _, text := range []string{
		"Subject: " + long + "\r\n\r\n", long + ": x\r\n\r\n",
		"Subject: x" + strings.Repeat("\r\n "+long[:100], 1000) + "\r\n\r\n",
	} {
		if got := parseHead([]byte(text)); len(got.Subject) > 2*maxValue+1 {
			t.Errorf("%d octets", len(got.Subject))
		}
	}
}

func FuzzHead(f *testing.F) {
	f.Add([]byte("Date: x\r\nFrom: =?utf-8?q?a?=\r\n b\r\nSubject: \xff\r\n\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		h := parseHead(text)
		for _, value := range []string{h.From, h.Sender, h.Subject} {
			if !utf8.ValidString(value) {
				t.Errorf("%q is no UTF-8", value)
			}
		}
		if _, err := h.Date.UTC().MarshalJSON(); err != nil {
			t.Error(err)
		}
	})
}
