package main_test

import (
	"regexp"
	"testing"

	"mailsrv/test/kit"
)

// letter is a message with CRLFs; its subject tells it from others.
func letter(subject, body string) string {
	return "From: you@example.org\r\nTo: look@me.com\r\nSubject: " + subject + "\r\n\r\n" + body
}

var trace = regexp.MustCompile(`\AReturn-Path: <[^\r\n]*>\r\nDelivered-To: [^\r\n]+\r\nReceived: [^\r\n]+(\r\n[ \t][^\r\n]*)*\r\n`)

// content is a stored message without the trace fields of its delivery here,
// which it must have.
func content(t *testing.T, message string) string {
	t.Helper()
	fields := trace.FindString(message)
	if fields == "" {
		t.Fatalf("no trace fields:\n%q", shorten(message))
	}
	return message[len(fields):]
}

// same compares two messages and shows where they part.
func same(t *testing.T, what, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	at := 0
	for at < len(got) && at < len(want) && got[at] == want[at] {
		at++
	}
	near := func(text string) string { return text[max(0, at-20):min(len(text), at+40)] }
	t.Errorf("%s: %d octets, want %d; from octet %d on\ngot  %q\nwant %q", what, len(got), len(want), at, near(got), near(want))
}

// dialogue is a connection on which a test speaks a protocol itself, where it
// must stop in the middle as no mail program does.
type dialogue struct{ *kit.Client }

// dial connects from a client address and reads the greeting.
func dial(t *testing.T, from, to string) (d *dialogue, greeting string) {
	t.Helper()
	d = &dialogue{kit.DialFrom(t, from, to)}
	return d, d.Line()
}

// ends expects the server to close the connection in good order, whatever it says
// before.
func (d *dialogue) ends() string {
	d.T.Helper()
	said, err := d.End()
	if err != nil {
		d.T.Fatalf("%q, then: %v", said, err)
	}
	return said
}
