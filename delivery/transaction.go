package delivery

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"mailsrv/internal/buffers"
	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
	"mailsrv/quota"
	"mailsrv/storage"
)

// Transaction is one mail transaction, from MAIL to the end of the content. It
// is used by one goroutine.
type Transaction struct {
	agent      *Agent
	settings   Settings
	envelope   mail.Envelope
	recipients []recipient
	boxes      []box
	leftOut    []leftOut
	alone      bool // a recipient had no room before: it shares no transaction
}

// recipient is a forward-path that was accepted.
type recipient struct {
	path  mail.Address
	alias bool
	boxes []mail.MailboxID // where it leads, at least one
}

// box is a maildrop that the message goes to, once, whoever leads there.
type box struct {
	id        mail.MailboxID
	address   mail.Address
	recipient int // the first that led there
}

// leftOut is a target of an alias that cannot take the message at all, while others
// can.
type leftOut struct {
	address mail.Address
	path    mail.Address // the alias
	why     string
}

// ID is the message's id.
func (t *Transaction) ID() string { return t.envelope.ID }

// ReversePath is who sent the message; the zero Address for a notification.
func (t *Transaction) ReversePath() mail.Address { return t.envelope.ReversePath }

// Recipients returns how many forward-paths were accepted.
func (t *Transaction) Recipients() int { return len(t.recipients) }

// Mailboxes lists where the message goes, for the log.
func (t *Transaction) Mailboxes() string {
	names := make([]string, len(t.boxes))
	for i, b := range t.boxes {
		names[i] = b.address.String()
	}
	return strings.Join(names, ",")
}

// AddRecipient accepts a forward-path or says why not: *Refusal, or an
// unexpected error. A refused recipient leaves the transaction as it was.
func (t *Transaction) AddRecipient(ctx context.Context, path mail.Address) error {
	if err := t.agent.store.Space(); err != nil {
		return storeRefusal(err)
	}
	route, err := directory.Resolve(ctx, t.agent.directory, path)
	if err != nil {
		return routeRefusal(err, path)
	}
	remembered := t.agent.misfits.has(t.key(path), t.agent.now())
	if len(t.recipients) > 0 && (remembered || t.alone) {
		return refuse(MustBeAlone, "%s or a recipient before it had no room earlier", path)
	}
	var (
		trace = t.traceOctets(path)
		r     = recipient{path: path, alias: route.Alias}
		added []box
		out   []leftOut
		last  mail.Address // of the targets that are too small
	)
	for _, m := range route.LeftOut {
		out = append(out, leftOut{m.Address, path, "disabled"})
	}
	for _, m := range route.Mailboxes {
		if t.holds(m.ID) {
			r.boxes = append(r.boxes, m.ID)
			continue
		}
		limit := m.Effective.Limit.Or(t.settings.Limit)
		verdict := limit.Judge(m.Usage, quota.Usage{Octets: t.envelope.Size + trace, Messages: 1})
		switch {
		case verdict == quota.Fits:
			t.agent.fullness.fits(m, limit)
			added = append(added, box{id: m.ID, address: m.Address, recipient: len(t.recipients)})
			r.boxes = append(r.boxes, m.ID)
		case verdict == quota.TooLarge && route.Alias:
			last = m.Address
			out = append(out, leftOut{m.Address, path, tooSmall})
		default:
			if verdict == quota.Full {
				t.agent.fullness.refused(m, limit)
			}
			return t.noRoom(verdict, route.Alias, m.Address)
		}
	}
	if len(r.boxes) == 0 {
		return t.noRoom(quota.TooLarge, route.Alias, last)
	}
	t.alone = t.alone || remembered
	t.recipients = append(t.recipients, r)
	t.boxes = append(t.boxes, added...)
	t.leftOut = append(t.leftOut, out...)
	return nil
}

const tooSmall = "the message is larger than its whole limit"

func (t *Transaction) holds(id mail.MailboxID) bool {
	for _, b := range t.boxes {
		if b.id == id {
			return true
		}
	}
	return false
}

// traceOctets is the exact length of the trace fields that a message to path
// gets. Only a lone recipient is named in Received: for the first one counted
// in, the fields can only become shorter.
func (t *Transaction) traceOctets(path mail.Address) int64 {
	var lone mail.Address
	if len(t.recipients) == 0 {
		lone = path
	}
	return int64(len(mail.ReturnPath(t.envelope.ReversePath)) + len(mail.DeliveredTo(path)) +
		len(mail.Received(&t.envelope, t.agent.hostname, lone)))
}

// noRoom is the answer for one recipient whose maildrop cannot take the
// message. A full target of an alias is a temporary matter whatever the
// settings say: the sender wrote to the alias, not to that mailbox.
func (t *Transaction) noRoom(v quota.Verdict, alias bool, a mail.Address) error {
	switch {
	case v == quota.TooLarge:
		return refuse(TooLargeForBox, "more than the whole limit of %s", a)
	case alias:
		return refuse(TargetFull, "maildrop of %s is full", a)
	case t.settings.Defer:
		return refuse(FullDeferred, "maildrop of %s is full", a)
	}
	return refuse(Full, "maildrop of %s is full", a)
}

func (t *Transaction) box(id mail.MailboxID) box {
	for _, b := range t.boxes {
		if b.id == id {
			return b
		}
	}
	return box{}
}

func (t *Transaction) key(path mail.Address) misfitKey {
	return newMisfitKey(t.envelope.Client.Addr, t.envelope.ReversePath, path)
}

func routeRefusal(err error, path mail.Address) error {
	for is, reason := range map[error]Reason{
		directory.ErrNotHosted: NotHosted,
		directory.ErrNoMailbox: NoMailbox,
		directory.ErrDisabled:  Disabled,
		directory.ErrBadAlias:  BadAlias,
	} {
		if errors.Is(err, is) {
			return refuse(reason, "%s: %v", path, err)
		}
	}
	return fmt.Errorf("route %s: %w", path, err)
}

// storeRefusal names the conditions of the store that a sender may hear of.
func storeRefusal(err error) error {
	var known *Refusal
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, storage.ErrNoSpace):
		return refuse(NoSpace, "%v", err)
	case errors.Is(err, buffers.ErrExhausted), errors.Is(err, storage.ErrStagedFull):
		return refuse(NoMemory, "%v", err)
	}
	return err
}
