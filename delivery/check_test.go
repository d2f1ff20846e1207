package delivery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"mailsrv/internal/mail"
	"mailsrv/internal/refusal"
	"mailsrv/quota"
)

// script is a check that does what a test says and records its calls.
type script struct {
	name   string
	most   int64
	fields string
	absent bool  // Begin returns nil
	at     stage // where it fails
	err    error

	text   bytes.Buffer
	seen   string // findings of earlier checks
	to     []mail.Address
	closed int
}

type stage string

const (
	atRecipient stage = "recipient"
	atBegin     stage = "begin"
	atWrite     stage = "write"
	atEnd       stage = "end"
)

func (s *script) fail(at stage) error {
	if s.at == at {
		return s.err
	}
	return nil
}

func (s *script) Name() string      { return s.name }
func (s *script) MostOctets() int64 { return s.most }
func (s *script) Recipient(context.Context, mail.Envelope, mail.Address) error {
	return s.fail(atRecipient)
}
func (s *script) Begin(_ context.Context, _ mail.Envelope, to []mail.Address) (Examiner, error) {
	if s.absent {
		return nil, nil
	}
	s.to = to
	return s, s.fail(atBegin)
}
func (s *script) Write(p []byte) (int, error) {
	s.text.Write(p)
	return len(p), s.fail(atWrite)
}
func (s *script) End(_ context.Context, found []Finding) (Finding, error) {
	for _, f := range found {
		s.seen += f.Check + "=" + f.Result + " "
	}
	return Finding{Result: "pass", Fields: s.fields}, s.fail(atEnd)
}
func (s *script) Close() { s.closed++ }

// A check gets the envelope, the canonical text and the findings of earlier checks. Its
// fields come after Return-Path and before our others.
func TestChecks(t *testing.T) {
	first := &script{name: "first", most: 100, fields: "X-First: a\r\n\tb\r\n"}
	second := &script{name: "second", most: 100, fields: "X-Second: c\r\n"}
	w := newWorld(t, Settings{})
	w.agent.use(first, &script{name: "absent", absent: true}, second)
	w.mailbox("a@me.com", quota.Inherit)
	w.deliver("a@me.com", "Subject: x\n\nline\rend")
	if got := w.first("a@me.com"); !strings.HasPrefix(got, "Return-Path: <alice@example.org>\r\nX-First: a\r\n\tb\r\nX-Second: c\r\nDelivered-To: a@me.com\r\nReceived: ") {
		t.Errorf("stored %q", got)
	}
	for _, s := range []*script{first, second} {
		if s.text.String() != "Subject: x\r\n\r\nline end\r\n" || len(s.to) != 1 || s.to[0] != address("a@me.com") || s.closed != 1 {
			t.Errorf("%s saw %q for %v, closed %d times", s.name, s.text.String(), s.to, s.closed)
		}
	}
	if first.seen != "" || second.seen != "first=pass " {
		t.Errorf("found %q and %q", first.seen, second.seen)
	}
	// RCPT counts the octets that the checks may add.
	trace := w.begin(0).traceOctets(address("b@me.com"))
	w.mailbox("b@me.com", trace+200+9)
	w.must(w.begin(9).AddRecipient(background, address("b@me.com")))
	w.wantReason(w.begin(10).AddRecipient(background, address("b@me.com")), refusal.TooLargeForBox)
}

// Wherever a check refuses or fails, nothing is stored and its examiner is closed once.
func TestChecksRefuse(t *testing.T) {
	no := refusal.New(refusal.BareNewline, "no")
	broken := errors.New("broken")
	for _, at := range []stage{atRecipient, atBegin, atWrite, atEnd, "too long"} {
		for _, err := range []error{no, broken} {
			t.Run(fmt.Sprintf("%s: %v", at, err), func(t *testing.T) {
				before := &script{name: "before", most: 10}
				s := &script{name: "judge", at: at, err: err}
				if at == "too long" {
					s.fields, err = "X: y\r\n", errors.New("adds")
				}
				w := newWorld(t, Settings{})
				w.agent.use(before, s)
				w.mailbox("a@me.com", quota.Inherit)
				tr := w.begin(0)
				got := tr.AddRecipient(background, address("a@me.com"))
				if at == atRecipient {
					if tr.Mailboxes() != "" {
						t.Errorf("the recipient was kept: %s", tr.Mailboxes())
					}
				} else {
					w.must(got)
					_, got = tr.Deliver(background, strings.NewReader("\r\nx\r\n"))
				}
				want := ""
				if err == no {
					want = refusal.BareNewline.Name()
				}
				if r := refusal.Of(got); got == nil || (r != nil) != (want != "") || r != nil && r.Reason.Name() != want || !strings.Contains(got.Error(), "check judge: ") {
					t.Errorf("got %v", got)
				}
				if n := w.messages("a@me.com"); n != 0 {
					t.Errorf("%d messages stored", n)
				}
				if (before.closed == 1) == (at == atRecipient) {
					t.Errorf("closed %d times", before.closed)
				}
			})
		}
	}
}

// use sets the checks of an agent.
func (a *Agent) use(checks ...Check) {
	a.checks, a.checkOctets = checks, 0
	for _, c := range checks {
		a.checkOctets += c.MostOctets()
	}
}
