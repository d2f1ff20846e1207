package smtpd

import (
	"errors"
	"strings"

	"github.com/emersion/go-smtp"

	"mailsrv/delivery"
	"mailsrv/internal/logs"
)

// Replies that conn gives by itself, whole lines.
const (
	replyLongLine     = "500 5.5.2 Line too long\r\n"
	replyTooManyLong  = "421 4.7.0 Too many lines too long, closing connection\r\n"
	replyIdle         = "421 4.4.2 No command for too long, closing connection\r\n"
	replyTooSlow      = "421 4.4.2 No content for too long, closing connection\r\n"
	replyDraining     = "421 4.3.2 Service shutting down, try again later\r\n"
	replyBadChunk     = "501 5.5.4 BDAT takes a size and LAST, closing connection\r\n"
	replyChunk        = "250 2.0.0 Continue\r\n"
	replyChunkOpen    = "503 5.5.1 Not allowed between chunks\r\n"
	replyNoop         = "250 2.0.0 OK\r\n"
	replyStartTLS     = "220 2.0.0 Ready to start TLS\r\n"
	replyNoParameters = "501 5.5.4 STARTTLS takes no parameters\r\n"
	replyTLSActive    = "503 5.5.1 TLS is active already\r\n"
	replyNoAuth       = "502 5.5.1 AUTH is not offered here\r\n"
	replyUnknown      = "500 5.5.2 Command not recognised\r\n"
	replyFlood        = "421 4.7.0 Too many refusals, closing connection\r\n"

	replyTooManyMistakes = "421 4.7.0 Too many errors, closing connection\r\n"
	replySenderDomain    = "501 5.1.7 The reverse-path has no domain: write <name@domain>\r\n"
	replyPathDomain      = "501 5.1.3 The forward-path has no domain: write <name@domain>\r\n"
)

// rewording is what is sent instead of the library's replies that begin so: where
// RFC 5321 sections 4.1.1.1, 4.2.4 and 4.1.1.11, RFC 2034 section 3 or RFC 3463
// want something else, and where the text repeats what the client sent. Its other
// replies, to what the grammar does not allow, go out as they are.
type rewording []struct{ library, reply string }

func newRewording(hostname string) rewording {
	return rewording{
		{"250-Hello ", "250-" + hostname + "\r\n"},
		{"250 2.0.0 Hello ", "250 " + hostname + "\r\n"},
		{"501 5.5.2 Domain", "501 EHLO and HELO take the name of the client\r\n"},
		{"250 2.0.0 Roger", "250 2.1.0 Reverse-path accepted\r\n"},
		{"250 2.0.0 I'll make sure", "250 2.1.5 Recipient accepted\r\n"},
		{"250 2.0.0 I have", replyNoop},
		{"354", "354 Go ahead, end with <CRLF>.<CRLF>\r\n"},
		{"500 5.5.4 Unknown", "555 5.5.4 Parameter not recognised\r\n"},
		{"502 5.5.1 Please introduce", "503 5.5.1 EHLO or HELO comes first\r\n"},
		{"502 5.5.1 Missing MAIL", "503 5.5.1 No mail transaction is open\r\n"},
		{"502 5.5.1 Missing RCPT", "503 5.5.1 No recipient has been accepted\r\n"},
	}
}

// reword returns the line to send for a line of the library.
func (c *conn) reword(line string) string {
	switch {
	case strings.HasPrefix(line, "501 5.5.2 Was expecting MAIL") && lacksDomain(c.at.from):
		return replySenderDomain
	case strings.HasPrefix(line, "501 5.5.2 Was expecting RCPT") && lacksDomain(c.at.to):
		return replyPathDomain
	}
	for _, r := range c.server.rewording {
		if strings.HasPrefix(line, r.library) {
			return r.reply
		}
	}
	return line
}

func reply(code int, class, subject, detail int, text string) *smtp.SMTPError {
	return &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{class, subject, detail}, Message: text}
}

// Replies of the session.
var (
	replyNested      = reply(503, 5, 5, 1, "A mail transaction is open already; RSET ends it")
	replyNoMail      = reply(503, 5, 5, 1, "No mail transaction is open")
	replyBadSender   = reply(501, 5, 1, 7, "Bad address in the reverse-path")
	replyBadPath     = reply(501, 5, 1, 3, "Bad address in the forward-path")
	replySenderAt    = reply(501, 5, 1, 7, "A second @ in the reverse-path needs quotes around the local part")
	replyPathAt      = reply(501, 5, 1, 3, "A second @ in the forward-path needs quotes around the local part")
	replyNeedUTF8    = reply(553, 5, 6, 7, "An address beyond ASCII needs SMTPUTF8")
	replyLater       = reply(451, 4, 3, 0, "Temporary failure, try again later")
	replyInterrupted = reply(451, 4, 4, 2, "The content did not arrive whole")
)

// refusals is what a sender hears for each reason. NotHosted's stands in the
// server: it names the host.
var refusals = map[delivery.Reason]*smtp.SMTPError{
	delivery.NoMailbox:       reply(550, 5, 1, 1, "No such mailbox here"),
	delivery.Disabled:        reply(550, 5, 2, 1, "This mailbox is disabled"),
	delivery.BadAlias:        reply(451, 4, 3, 5, "The alias is misconfigured, try again later"),
	delivery.Full:            reply(552, 5, 2, 2, "The mailbox is full"),
	delivery.FullDeferred:    reply(452, 4, 2, 2, "The mailbox is full, try again later"),
	delivery.TargetFull:      reply(452, 4, 2, 2, "A mailbox behind this address is full, try again later"),
	delivery.TooLargeForBox:  reply(552, 5, 2, 3, "The message is larger than this mailbox can hold"),
	delivery.SomeFull:        reply(452, 4, 2, 2, "Not every recipient has room, nothing was stored, try again"),
	delivery.MustBeAlone:     reply(452, 4, 5, 3, "Send to this recipient in a transaction of its own"),
	delivery.Vanished:        reply(451, 4, 2, 1, "A recipient has just changed, nothing was stored, try again"),
	delivery.MessageTooLarge: reply(552, 5, 3, 4, "The message is too large"),
	delivery.TooManyHops:     reply(554, 5, 4, 6, "Too many hops, the message is caught in a loop"),
	delivery.BareNewline:     reply(550, 5, 6, 0, "The content has CR or LF alone; lines end in CRLF"),
	delivery.NoSpace:         reply(452, 4, 3, 1, "Insufficient system storage, try again later"),
	delivery.NoMemory:        reply(451, 4, 3, 2, "Too much mail at once, try again later"),
}

// replyNotHosted is for a person who has set up a mail program wrongly, as a rule.
// It tells nobody which domains there are.
func replyNotHosted(hostname string) *smtp.SMTPError {
	return reply(550, 5, 7, 1, hostname+" takes mail for its own domains only; to send to others use your outgoing server")
}

// replyTo turns an error into the reply that names no internals. The reason of a
// refusal goes to the line that conn logs; anything else is logged here, as a
// failure with its cause.
func (s *session) replyTo(err error) *smtp.SMTPError {
	var refusal *delivery.Refusal
	if errors.As(err, &refusal) {
		s.conn.at.reason = refusal.Detail
		if refusal.Reason == delivery.NotHosted {
			return s.server.notHosted
		}
		if r := refusals[refusal.Reason]; r != nil {
			return r
		}
	}
	s.conn.at.failed = true
	s.server.config.Logger.Error(logs.Failed, append(s.conn.about(), logs.Error, err)...)
	return replyLater
}
