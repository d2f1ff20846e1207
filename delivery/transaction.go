package delivery

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	alone      bool // a recipient had no room before: it shares no transaction
}

// recipient is a forward-path that was accepted.
type recipient struct {
	path  mail.Address
	alias bool
}

// box is a maildrop that the message goes to, once, whoever leads there.
type box struct {
	id        mail.MailboxID
	address   mail.Address
	recipient int // the first that led there
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
	trace := t.traceOctets(path)
	var added []box
	for _, m := range route.Mailboxes {
		if t.holds(m.ID) {
			continue
		}
		limit := m.Effective.Or(t.settings.Limit)
		verdict := limit.Judge(m.Usage, quota.Usage{Octets: t.envelope.Size + trace, Messages: 1})
		if verdict != quota.Fits {
			return t.noRoom(verdict, route.Alias, m.Address)
		}
		added = append(added, box{id: m.ID, address: m.Address, recipient: len(t.recipients)})
	}
	t.alone = t.alone || remembered
	t.recipients = append(t.recipients, recipient{path: path, alias: route.Alias})
	t.boxes = append(t.boxes, added...)
	return nil
}

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

// Deliver reads the content to its end and commits it to every recipient, or
// to none. It returns the octets of the message in the first maildrop. ctx is the
// session's: it ends the reading, and the wait for the commit. Errors: *Refusal;
// what content returned, wrapped; or an unexpected one. A *Refusal may come before
// the content has been read to its end.
func (t *Transaction) Deliver(ctx context.Context, content io.Reader) (octets int64, err error) {
	if err := t.agent.store.Space(); err != nil {
		return 0, storeRefusal(err)
	}
	var lone mail.Address
	if len(t.recipients) == 1 {
		lone = t.recipients[0].path
	}
	received := mail.Received(&t.envelope, t.agent.hostname, lone)
	body, err := t.agent.store.NewBody(ctx, t.envelope.Size+int64(len(received)))
	if err != nil {
		return 0, storeRefusal(err)
	}
	defer body.Discard()
	if _, err := io.WriteString(body, received); err != nil {
		return 0, storeRefusal(err)
	}
	if err := t.receive(body, content); err != nil {
		return 0, err
	}
	d := &storage.Delivery{ID: t.envelope.ID, Prefix: mail.ReturnPath(t.envelope.ReversePath), Body: body}
	d.To = make([]storage.Recipient, len(t.boxes))
	for i, b := range t.boxes {
		d.To[i] = storage.Recipient{Mailbox: b.id, Own: mail.DeliveredTo(t.recipients[b.recipient].path)}
	}
	ctx, cancel := context.WithTimeout(ctx, commitDeadline)
	defer cancel()
	err = t.agent.store.Deliver(ctx, d, t.settings.Limit)
	var misfit *storage.MisfitError
	switch {
	case err == nil:
		return d.Octets(d.To[0]), nil
	case errors.As(err, &misfit):
		return 0, t.misfitRefusal(misfit)
	}
	return 0, storeRefusal(err)
}

// receive brings the content into canonical form.
func (t *Transaction) receive(body storage.Body, content io.Reader) error {
	text := canonical{to: body, limit: t.settings.MaxMessageSize}
	_, err := io.Copy(&text, content)
	if text.err != nil {
		err = text.err
	} else if err != nil {
		return fmt.Errorf("read the content: %w", err)
	} else {
		err = text.finish()
	}
	switch {
	case err != nil:
		return storeRefusal(err)
	case text.section.hops > mail.MaxHops:
		return refuse(TooManyHops, "%d Received fields", text.section.hops)
	case text.bare && t.settings.RejectBareNewline:
		return refuse(BareNewline, "bare CR or LF in the content")
	}
	return nil
}

// misfitRefusal answers what the commit found. A lone recipient gets its exact
// answer; among several nobody can be singled out, so all are told to come
// again, and those without room will then be refused by themselves.
func (t *Transaction) misfitRefusal(e *storage.MisfitError) error {
	lone := len(t.recipients) == 1
	var first *Refusal
	full := false
	for _, m := range e.Misfits {
		b := t.box(m.Mailbox)
		r := t.recipients[b.recipient]
		var answer error
		switch m.Reason {
		case storage.MisfitFull, storage.MisfitTooLarge:
			verdict := quota.Full
			if m.Reason == storage.MisfitTooLarge {
				verdict = quota.TooLarge
			}
			answer = t.noRoom(verdict, r.alias, b.address)
			full = true
			if !lone {
				t.agent.misfits.add(t.key(r.path), t.agent.now())
			}
		case storage.MisfitDisabled:
			answer = refuse(Disabled, "%s was disabled meanwhile", b.address)
		case storage.MisfitGone:
			answer = refuse(NoMailbox, "%s was removed meanwhile", b.address)
		}
		refusal := answer.(*Refusal)
		if first == nil {
			first = refusal
		}
		if (m.Reason == storage.MisfitGone || m.Reason == storage.MisfitDisabled) && r.alias {
			first = refuse(Vanished, "%s", refusal.Detail)
		}
	}
	switch {
	case lone:
		return first
	case full:
		return refuse(SomeFull, "%s", first.Detail)
	}
	return refuse(Vanished, "%s", first.Detail)
}

func (t *Transaction) box(id mail.MailboxID) box {
	for _, b := range t.boxes {
		if b.id == id {
			return b
		}
	}
	return box{}
}

func (t *Transaction) key(path mail.Address) memoryKey {
	return newMemoryKey(t.envelope.Client.Addr, t.envelope.ReversePath, path)
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
