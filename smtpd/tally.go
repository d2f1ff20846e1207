package smtpd

import (
	"strconv"
	"strings"
	"time"

	"mailsrv/internal/logs"
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
	reason   string // what the reply does not tell; empty: nothing
	cause    error
	failed   bool // not a refusal: the failure has been logged
}

// barePostmaster reports whether the recipient is <postmaster>, without a domain.
func (a *attempt) barePostmaster() bool { return strings.EqualFold(a.to, "postmaster") }

// refuse gives a reply that is a refusal: a whole line, from conn itself.
func (c *conn) refuse(line string) { c.say(c.judge(line)) }

// judge looks at the last line of a reply on its way out. A refusal is logged, and
// one too many becomes the end of the session. It returns the line to send.
func (c *conn) judge(line string) string {
	code, err := strconv.Atoi(line[:min(3, len(line))])
	if err != nil || code < 400 || len(line) < 4 || line[3] != ' ' || c.tally.ended {
		return line
	}
	reason, cause, failed := c.at.reason, c.at.cause, c.at.failed
	c.at.reason, c.at.cause, c.at.failed = "", nil, false
	c.tally.refused++
	if failed {
		return line
	}
	if reason == "" {
		reason = replyText(line)
	}
	if code >= 500 && code != 503 { // 503 follows from another refusal, as a rule
		c.tally.denied++
	}
	if c.tally.denied > maxRefused && !c.hangUp {
		c.hangUp = true
		c.tally.over = replyText(replyFlood)
		line, code, reason = replyFlood, 421, "too many refusals, the last: "+reason
	}
	attrs := append(c.about(), logs.Reply, code, logs.Reason, logs.Text(reason, maxLogged))
	if cause != nil {
		attrs = append(attrs, logs.Error, cause)
	}
	c.server.config.Logger.Info(logs.Refused, attrs...)
	return line
}

// maxLogged bounds, in octets, what a client may bring into one attribute of the
// log: the longest path that is taken.
const maxLogged = 1300

// about is what a log line says of the command at hand.
func (c *conn) about() []any {
	attrs := []any{logs.Proto, "smtp", logs.Client, c.base.Client(), logs.Helo, logs.Text(c.helo, maxLogged)}
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
