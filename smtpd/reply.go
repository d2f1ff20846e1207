package smtpd

import (
	"strings"

	"github.com/emersion/go-smtp"

	"mailsrv/internal/logs"
	"mailsrv/internal/refusal"
)

// Replies that conn gives by itself and that are no refusals, whole lines.
const (
	replyTooManyLong = "421 4.7.0 Too many lines too long, closing connection\r\n"
	replyIdle        = "421 4.4.2 No command for too long, closing connection\r\n"
	replyTooSlow     = "421 4.4.2 No content for too long, closing connection\r\n"
	replyDraining    = "421 4.3.2 Service shutting down, try again later\r\n"
	replyChunk       = "250 2.0.0 Continue\r\n"
	replyNoop        = "250 2.0.0 OK\r\n"
	replyStartTLS    = "220 2.0.0 Ready to start TLS\r\n"
)

// rewording is what is sent in place of the library's replies that begin so: where
// RFC 5321 sections 4.1.1.1, 4.2.4 and 4.1.1.11, RFC 2034 section 3 or RFC 3463
// want something else, and where the text repeats what the client sent.
type rewording []struct{ library, reply string }

func newRewording(hostname string) rewording {
	return rewording{
		{"250-Hello ", "250-" + hostname + "\r\n"},
		{"250 2.0.0 Hello ", "250 " + hostname + "\r\n"},
		{"250 2.0.0 Roger", "250 2.1.0 Reverse-path accepted\r\n"},
		{"250 2.0.0 I'll make sure", "250 2.1.5 Recipient accepted\r\n"},
		{"250 2.0.0 I have", replyNoop},
		{"354", "354 Go ahead, end with <CRLF>.<CRLF>\r\n"},
	}
}

// refusals are the reasons of the library's refusals that begin so. Those of which
// said is set go out as they are, since their text tells more than ours would.
var refusals = []struct {
	library string
	reason  refusal.Reason
	said    bool
}{
	{"501 5.5.2 Domain", refusal.NoName, false},
	{"500 5.5.4 Unknown", refusal.UnknownParameter, false},
	{"502 5.5.1 Please introduce", refusal.NotGreeted, false},
	{"502 5.5.1 Missing MAIL", refusal.NoTransaction, false},
	{"502 5.5.1 Missing RCPT", refusal.NoRecipients, false},
	{"452 4.5.3 Maximum limit", refusal.TooManyRecipients, false},
	{"552 5.3.4", refusal.TooLarge, false},
	{"504", refusal.UnknownParameter, true},
	{"501 5.5.4", refusal.Syntax, true},
	{"502", refusal.UnknownCommand, true},
	{"451", refusal.Failure, true},
	{"421", refusal.Failure, true},
}

// refusedBy tells why the library refuses with a line, and what to say.
func (c *conn) refusedBy(line string) (reason refusal.Reason, reply string) {
	switch {
	case strings.HasPrefix(line, "501 5.5.2 Was expecting MAIL") && lacksDomain(c.at.from):
		return refusal.SenderNoDomain, c.line(refusal.SenderNoDomain)
	case strings.HasPrefix(line, "501 5.5.2 Was expecting RCPT") && lacksDomain(c.at.to):
		return refusal.RecipientDomain, c.line(refusal.RecipientDomain)
	}
	for _, r := range refusals {
		if !strings.HasPrefix(line, r.library) {
			continue
		}
		if r.said {
			return r.reason, line
		}
		return r.reason, c.line(r.reason)
	}
	return refusal.Syntax, line
}

// reword returns the line to send for one of the library's that refuses nothing.
func (c *conn) reword(line string) string {
	for _, r := range c.server.rewording {
		if strings.HasPrefix(line, r.library) {
			return r.reply
		}
	}
	return line
}

// line is the reply to a refusal, whole.
func (c *conn) line(r refusal.Reason) string { return r.Reply(c.server.config.Hostname).Line() }

// refuse hands a refusal to the library, which writes its reply to the conn.
func (s *session) refuse(r refusal.Reason, detail string) *smtp.SMTPError {
	s.conn.at.reason, s.conn.at.detail = r, detail
	reply := r.Reply(s.server.config.Hostname)
	return &smtp.SMTPError{Code: reply.Code, EnhancedCode: smtp.EnhancedCode(reply.Enhanced), Message: reply.Text}
}

// replyTo turns an error into the reply that names no internals. A refusal is logged
// by conn when its reply goes out; anything else is logged here, as a failure with
// its cause.
func (s *session) replyTo(err error) *smtp.SMTPError {
	if r := refusal.Of(err); r != nil {
		return s.refuse(r.Reason, r.Detail)
	}
	s.conn.at.failed = true
	s.server.config.Logger.Error(logs.Failed, append(s.conn.about(), logs.Error, err)...)
	return s.refuse(refusal.Failure, "")
}
