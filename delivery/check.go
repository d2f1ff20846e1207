package delivery

import (
	"context"
	"fmt"
	"io"
	"strings"

	"mailsrv/internal/mail"
	"mailsrv/internal/refusal"
)

// Check is a judge of incoming mail: who may send it, whether it is honest, what a
// filter says. One Check serves many messages at once. An error that is no
// *refusal.Refusal is a failure: the sender hears "later".
type Check interface {
	// Name stands in findings and in the log.
	Name() string
	// MostOctets bounds the fields that the check may add to one message: RCPT
	// counts them in where it asks whether a message fits.
	MostOctets() int64
	// Recipient is asked before a recipient is accepted.
	Recipient(ctx context.Context, e mail.Envelope, to mail.Address) error
	// Begin is called before the content is read. nil: the check has no interest
	// in this message.
	Begin(ctx context.Context, e mail.Envelope, to []mail.Address) (Examiner, error)
}

// Examiner looks at one message. It is used by one goroutine.
type Examiner interface {
	// Write takes the next octets of the content in canonical form, without our
	// trace fields. It must not keep or change them.
	io.Writer
	// End is called after the last octet, in the order of the checks, with what
	// earlier ones found.
	End(ctx context.Context, found []Finding) (Finding, error)
	// Close is called once, also where the content broke off.
	Close()
}

// Finding is what a check found.
type Finding struct {
	Check  string // its name; filled in here
	Result string // pass, fail and the like, as RFC 8601 names them
	Domain string // that it speaks of
	Fields string // to be added to the message: whole header fields, each with its CRLF
}

// checkRecipient asks the checks whether a recipient may be accepted.
func (a *Agent) checkRecipient(ctx context.Context, e mail.Envelope, to mail.Address) error {
	for _, c := range a.checks {
		if err := c.Recipient(ctx, e, to); err != nil {
			return checkError(c, err)
		}
	}
	return nil
}

// checkError says whose error it is. A refusal stays one, for the same reason.
func checkError(c Check, err error) error {
	if r := refusal.Of(err); r != nil {
		return refusal.New(r.Reason, "check %s: %s", c.Name(), r.Detail)
	}
	return fmt.Errorf("check %s: %w", c.Name(), err)
}

// panel is the examiners of one message, in the order of their checks.
type panel struct {
	checks    []Check
	examiners []Examiner
}

// beginChecks gathers those that look at the message. The panel has to be closed,
// also after an error.
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

// over returns a writer to body whose octets the examiners see too.
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

// watch names the check whose examiner fails.
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

// end asks each examiner for what it found, and returns the fields to add.
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
