package smtpd

import (
	"strings"
	"time"

	"mailsrv/internal/logs"
	"mailsrv/internal/refusal"
)

// maxRefused is how many permanent refusals a client may have between two messages
// that are accepted: beyond it, somebody is harvesting the directory.
const maxRefused = 50

// tally counts what happens over the life of a connection, before and after
// STARTTLS.
type tally struct {
	began    time.Time
	accepted int    // messages
	refused  int    // commands and messages
	over     string // why we ended it; empty: we did not
	ended    bool   // the last line has been logged

	// Since a message was accepted, which shows that mail is what the client is
	// here for.
	denied    int // permanent refusals
	mistakes  int // what is no command
	longLines int // commands that were too long
}

// accept counts a message that was accepted.
func (t *tally) accept() {
	t.accepted++
	t.denied, t.mistakes, t.longLines = 0, 0, 0
}

// attempt is what the command at hand is about, for the log should it be refused.
type attempt struct {
	open     bool   // a mail transaction is
	id       string // of the message
	from, to string // paths as the client wrote them

	// Of a refusal by the session, which the library writes.
	reason refusal.Reason
	detail string // what the reply does not tell; empty: nothing
	cause  error
	failed bool // not a refusal: the failure has been logged
}

// barePostmaster reports whether the recipient is <postmaster>, without a domain.
func (a *attempt) barePostmaster() bool { return strings.EqualFold(a.to, "postmaster") }

// refuse gives a refusal of conn's own.
func (c *conn) refuse(r refusal.Reason) { c.say(c.note(r, c.line(r))) }

// judge looks at a line of the library on its way out. It returns the line to send.
func (c *conn) judge(line string) string {
	if len(line) < 4 || line[0] != '4' && line[0] != '5' || line[3] != ' ' {
		return c.reword(line)
	}
	reason := c.at.reason
	if reason == 0 {
		reason, line = c.refusedBy(line)
	}
	return c.note(reason, line)
}

// note logs a refusal whose last line is on its way out; one too many becomes the end
// of the session. It returns the line to send.
func (c *conn) note(reason refusal.Reason, line string) string {
	at := c.at
	c.at.reason, c.at.detail, c.at.cause, c.at.failed = 0, "", nil, false
	c.tally.refused++
	if at.failed {
		return line
	}
	if at.detail == "" {
		at.detail = replyText(line)
	}
	if line[0] == '5' && !strings.HasPrefix(line, "503") { // 503 follows from another refusal, as a rule
		c.tally.denied++
	}
	if c.tally.denied > maxRefused && !c.hangUp {
		c.hangUp = true
		at.detail = "the last: " + reason.Name() + ", " + at.detail
		reason, line = refusal.TooManyRefused, c.line(refusal.TooManyRefused)
		c.tally.over = replyText(line)
	}
	attrs := append(c.about(), logs.Reply, line[:3], logs.Code, reason.Name(), logs.Reason, logs.Text(at.detail, maxLogged))
	if at.cause != nil {
		attrs = append(attrs, logs.Error, at.cause)
	}
	c.server.config.Logger.Info(logs.Refused, attrs...)
	return line
}

// Bounds, in octets, of what a client may bring into one attribute of the log: the
// longest path that is taken, and a name.
const (
	maxLogged     = 1300
	maxLoggedName = 255
)

// about is what a log line says of the command at hand.
func (c *conn) about() []any {
	attrs := []any{logs.Proto, "smtp", logs.Client, c.base.Client(), logs.Helo, logs.Text(c.helo, maxLoggedName)}
	if c.at.id != "" {
		attrs = append(attrs, logs.ID, c.at.id)
	}
	return append(attrs, logs.From, logs.Text(c.at.from, maxLogged), logs.To, logs.Text(c.at.to, maxLogged))
}

// replyText is the text of a reply line, without its codes.
func replyText(line string) string {
	text := strings.TrimSpace(line[4:])
	if code, rest, _ := strings.Cut(text, " "); strings.Count(code, ".") == 2 && strings.Trim(code, ".0123456789") == "" {
		return rest
	}
	return text
}

// logEnd writes the last line of a connection, once.
func (c *conn) logEnd() {
	if c.tally.ended {
		return
	}
	c.tally.ended = true
	attrs := []any{logs.Proto, "smtp", logs.Client, c.base.Client(), logs.Messages, c.tally.accepted,
		logs.Refusals, c.tally.refused, logs.Duration, time.Since(c.tally.began).Round(time.Millisecond)}
	if c.tally.over != "" {
		attrs = append(attrs, logs.Reason, c.tally.over)
	}
	c.server.config.Logger.Info(logs.SessionEnd, attrs...)
}
