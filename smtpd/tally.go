package smtpd

import (
	"context"
	"log/slog"
	"time"

	"mailsrv/internal/logs"
	"mailsrv/internal/refusal"
	"mailsrv/smtpd/library"
)

// Bounds on what a client may do between two messages that are accepted.
const (
	maxRefused   = 50   // permanent refusals: beyond it, somebody is harvesting the directory
	maxMistakes  = 3    // lines that are no command
	maxLongLines = 10   // commands that are too long
	maxDisorder  = 100  // commands out of order, which mostly follow from another refusal
	maxLines     = 1000 // of the log; beyond it, refusals are only counted
)

// tally counts what happens over the life of a connection, with and without TLS.
type tally struct {
	began    time.Time
	accepted int // messages
	refused  int // commands and messages

	// Since the last accepted message: one that is accepted shows that the client is a
	// mail server.
	denied    int // permanent refusals
	mistakes  int
	longLines int
	disorder  int
	lines     int // of the log
}

// accept counts a message that was accepted.
func (t *tally) accept() {
	t.accepted++
	t.denied, t.mistakes, t.longLines, t.disorder, t.lines = 0, 0, 0, 0, 0
}

// refuse counts a refusal, and returns the reason to reply with: r, or one that ends the
// connection once there were too many.
func (t *tally) refuse(r refusal.Reason) refusal.Reason {
	t.refused++
	switch {
	case r == refusal.UnknownCommand:
		t.mistakes++
	case r == refusal.LineTooLong:
		t.longLines++
	case r == refusal.NoRecipients, r == refusal.NoTransaction, r == refusal.NotGreeted, r == refusal.Nested:
		t.disorder++
	case !r.Temporary():
		t.denied++
	}
	switch {
	case t.mistakes > maxMistakes, t.longLines > maxLongLines, t.disorder > maxDisorder:
		return refusal.TooManyErrors
	case t.denied > maxRefused:
		return refusal.TooManyRefused
	}
	return r
}

// Refused implements library.Session: it counts and logs each refusal as its reply leaves,
// whether the session or go-smtp made it.
func (s *session) Refused(c library.Command, no *refusal.Refusal) refusal.Reason {
	s.guess(c, no.Reason)
	reason := s.tally.refuse(no.Reason)
	if s.tally.lines++; no.Reason == refusal.Failure || s.tally.lines > maxLines && reason == no.Reason {
		return reason // a failure was logged with its cause; the rest is only counted
	}
	from, to := "", ""
	switch t := s.transaction; {
	case c.Verb == "MAIL":
		from = c.Path
	case t != nil:
		from = t.ReversePath().String()
		if s.content {
			to = t.Mailboxes()
		}
	}
	if c.Verb == "RCPT" {
		to = c.Path
	}
	detail := no.Detail
	if detail == "" {
		detail = no.Reason.Reply(s.server.config.Hostname).Text
	}
	if reason != no.Reason {
		detail = "the last: " + no.Reason.Name() + ", " + detail
	}
	s.server.config.Logger.Info(logs.Refused, append(s.about(from, to),
		logs.Reply, reason.Reply("").Code, logs.Code, reason.Name(), logs.Reason, logs.Text(detail, maxLogged))...)
	return reason
}

// Bounds, in octets, on the text of a client in one attribute of the log: the longest
// path that is taken, and a name.
const (
	maxLogged     = 1300
	maxLoggedName = 255
)

// about returns the attributes of a log line that describe the client and its message.
func (s *session) about(from, to string) []any {
	attrs := []any{logs.Proto, "smtp", logs.Client, s.conn.Client(), logs.Helo, logs.Text(s.conn.Helo(), maxLoggedName)}
	if s.transaction != nil {
		attrs = append(attrs, logs.ID, s.transaction.ID())
	}
	return append(attrs, logs.From, logs.Text(from, maxLogged), logs.To, logs.Text(to, maxLogged))
}

// logEnd writes the last line of a connection.
func (s *session) logEnd(why string) {
	attrs := []any{logs.Proto, "smtp", logs.Client, s.conn.Client(), logs.Messages, s.tally.accepted,
		logs.Refusals, s.tally.refused, logs.Duration, time.Since(s.tally.began).Round(time.Millisecond)}
	if why != "" {
		attrs = append(attrs, logs.Reason, why)
	}
	level := slog.LevelInfo
	if s.conn.Probe() { // health checks of a proxy come often
		level = slog.LevelDebug
	}
	s.server.config.Logger.Log(context.Background(), level, logs.SessionEnd, attrs...)
}
