package delivery

import (
	"context"
	"fmt"
	"io"
	"strings"

	"mailsrv/internal/mail"
	"mailsrv/internal/refusal"
)

// Check judges incoming mail: SPF, DKIM, a filter. All methods are safe for concurrent
// use. An error that is or wraps a *refusal.Refusal refuses the mail. Any other error is
// a temporary failure.
type Check interface {
	// Name returns the name of the check in findings and in the log.
	Name() string
	// MostOctets returns the most octets of fields that the check adds to one message.
	// RCPT adds them to the declared size when it asks whether a message fits.
	MostOctets() int64
	// Recipient is called before a recipient is accepted.
	Recipient(ctx context.Context, e mail.Envelope, to mail.Address) error
	// Begin is called before the content is read. A nil Examiner: the check does not
	// look at this message.
	Begin(ctx context.Context, e mail.Envelope, to []mail.Address) (Examiner, error)
}

// Examiner is a [Check] at work on one message. It is used by one goroutine.
type Examiner interface {
	// Write takes the next octets of the content in canonical form, without our
	// trace fields. It must not keep or change them.
	io.Writer
	// End is called after the last octet, in the order of the checks, with the findings
	// of earlier ones.
	End(ctx context.Context, found []Finding) (Finding, error)
	// Close is called exactly once, also if the content or End fails.
	Close()
}

// Finding is what a [Check] has found out about a message.
type Finding struct {
	Check  string // name of the check; the caller of End sets it
	Result string // pass, fail and so on, as in RFC 8601
	Domain string // that was judged
	Fields string // header fields to add to the message, each with its CRLF
}

// checkRecipient returns the first error of a check about a recipient.
func (a *Agent) checkRecipient(ctx context.Context, e mail.Envelope, to mail.Address) error {
	for _, c := range a.checks {
		if err := c.Recipient(ctx, e, to); err != nil {
			return checkError(c, err)
		}
	}
	return nil
}

// checkError adds the name of the check to its error. A refusal keeps its reason.
func checkError(c Check, err error) error {
	if r := refusal.Of(err); r != nil {
		return refusal.New(r.Reason, "check %s: %s", c.Name(), r.Detail)
	}
	return fmt.Errorf("check %s: %w", c.Name(), err)
}

// panel is the examiners of one message and their checks, in the order of the checks.
type panel struct {
	checks    []Check
	examiners []Examiner
}

// beginChecks returns the panel for the message. The caller closes it, also after an
// error.
func (t *Transaction) beginChecks(ctx context.Context) (*panel, error) {
	p := &panel{}
	if len(t.agent.checks) == 0 {
		return p, nil
	}
	to := make([]mail.Address, len(t.recipients))
	for i, r := range t.recipients {
		to[i] = r.path
	}
	for _, c := range t.agent.checks {
		x, err := c.Begin(ctx, t.envelope, to)
		if err != nil {
			return p, checkError(c, err)
		}
		if x != nil {
			p.checks, p.examiners = append(p.checks, c), append(p.examiners, x)
		}
	}
	return p, nil
}

// over returns a writer that writes to body and to the examiners.
func (p *panel) over(body io.Writer) io.Writer {
	if len(p.examiners) == 0 {
		return body
	}
	all := []io.Writer{body}
	for i, x := range p.examiners {
		all = append(all, watch{p.checks[i], x})
	}
	return io.MultiWriter(all...)
}

// watch is a writer to an examiner that names the check in errors.
type watch struct {
	check Check
	to    io.Writer
}

func (w watch) Write(p []byte) (int, error) {
	n, err := w.to.Write(p)
	if err != nil {
		err = checkError(w.check, err)
	}
	return n, err
}

// end ends each examiner and returns the fields to add to the message.
func (p *panel) end(ctx context.Context) (string, error) {
	var fields strings.Builder
	var found []Finding
	for i, x := range p.examiners {
		c := p.checks[i]
		f, err := x.End(ctx, found)
		switch {
		case err != nil:
			return "", checkError(c, err)
		case int64(len(f.Fields)) > c.MostOctets():
			return "", fmt.Errorf("check %s: adds %d octets, and has said %d at the most", c.Name(), len(f.Fields), c.MostOctets())
		}
		f.Check = c.Name()
		found = append(found, f)
		fields.WriteString(f.Fields)
	}
	return fields.String(), nil
}

func (p *panel) close() {
	for _, x := range p.examiners {
		x.Close()
	}
}
