package library

import (
	"strings"

	"mailsrv/internal/refusal"
)

// Whole lines of our own replies that are not in the table of refusals.
const (
	replyIdle      = "421 4.4.2 No command for too long, closing connection\r\n"
	replyTooSlow   = "421 4.4.2 No content for too long, closing connection\r\n"
	replyYield     = "421 4.3.2 Too much mail at once, closing connection\r\n"
	replyDraining  = "421 4.3.2 Service shutting down, try again later\r\n"
	replyEnded     = "421 4.3.2 Session ended by the administrator, try again later\r\n"
	replyChunk     = "250 2.0.0 Continue\r\n"
	replyNoop      = "250 2.0.0 OK\r\n"
	replyStartTLS  = "220 2.0.0 Ready to start TLS\r\n"
	replyMail      = "250 2.1.0 Reverse-path accepted\r\n"
	replyRcpt      = "250 2.1.5 Recipient accepted\r\n"
	replyGoAhead   = "354 Go ahead, end with <CRLF>.<CRLF>\r\n"
	firstOfContent = "354" // how go-smtp's reply to DATA begins
)

// rewording replaces go-smtp's replies that begin with theirs: where RFC 5321 section
// 4.1.1.1, RFC 2034 section 3 or RFC 3463 want something else, and where go-smtp's text
// repeats what the client sent.
type rewording []struct{ theirs, ours string }

func newRewording(hostname string) rewording {
	return rewording{
		{"250-Hello ", "250-" + hostname + "\r\n"},
		{"250 2.0.0 Hello ", "250 " + hostname + "\r\n"},
		{"250 2.0.0 Roger", replyMail},
		{"250 2.0.0 I'll make sure", replyRcpt},
		{"250 2.0.0 I have", replyNoop},
		{firstOfContent, replyGoAhead},
	}
}

// say returns the line to send for a line of go-smtp that is no refusal.
func (r rewording) say(line string) string {
	for _, one := range r {
		if strings.HasPrefix(line, one.theirs) {
			return one.ours
		}
	}
	return line
}

// refusals gives the reason for each of go-smtp's refusals that begins with theirs. Where
// keep is set, go-smtp's text is sent, since it says more than ours would.
var refusals = []struct {
	theirs string
	reason refusal.Reason
	keep   bool
}{
	{"501 5.5.2 Domain", refusal.NoName, false},
	{"500 5.5.4 Unknown", refusal.UnknownParameter, false},
	{"502 5.5.1 Please introduce", refusal.NotGreeted, false},
	{"502 5.5.1 Missing MAIL", refusal.NoTransaction, false},
	{"502 5.5.1 Missing RCPT", refusal.NoRecipients, false},
	{"452 4.5.3 Maximum limit", refusal.TooManyRecipients, false},
	{"552 5.3.4", refusal.TooLarge, false},
	{"504", refusal.ParameterNotSupported, true},
	{"501 5.5.4", refusal.Syntax, true},
	{"502", refusal.NotImplemented, true},
	{"451", refusal.Failure, true},
	{"421", refusal.Failure, true},
}

// refusedBy returns the reason why go-smtp refuses a command with line. keep: send the
// line as it is.
func refusedBy(line, path string) (reason refusal.Reason, keep bool) {
	switch {
	case strings.HasPrefix(line, "501 5.5.2 Was expecting MAIL") && lacksDomain(path):
		return refusal.SenderNoDomain, false
	case strings.HasPrefix(line, "501 5.5.2 Was expecting RCPT") && lacksDomain(path):
		return refusal.RecipientDomain, false
	}
	for _, r := range refusals {
		if strings.HasPrefix(line, r.theirs) {
			return r.reason, r.keep
		}
	}
	return refusal.Syntax, true
}

// isRefusal reports whether a line is the last one of a refusal.
func isRefusal(line string) bool {
	return len(line) > 3 && (line[0] == '4' || line[0] == '5') && line[3] == ' '
}

// replyText returns the text of a reply line without its codes.
func replyText(line string) string {
	text := strings.TrimSpace(line[min(4, len(line)):])
	if code, rest, _ := strings.Cut(text, " "); strings.Count(code, ".") == 2 && strings.Trim(code, ".0123456789") == "" {
		return rest
	}
	return text
}

// printable replaces control characters by "?": go-smtp repeats them from commands that it
// does not understand.
func printable(line string) string {
	text, end := strings.CutSuffix(line, "\r\n")
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7F {
			return '?'
		}
		return r
	}, text)
	if end {
		text += "\r\n"
	}
	return text
}
