package delivery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"mailsrv/internal/logs"
	"mailsrv/internal/mail"
	"mailsrv/internal/refusal"
	"mailsrv/quota"
	"mailsrv/storage"
)

// Unserved is a recipient that did not get the message, and the answer it gets.
type Unserved struct {
	To  mail.Address
	Why *refusal.Refusal
}

// Deliver reads the content to its end and commits it to every recipient, or to none.
// After [Transaction.ServeEach] it commits to the recipients that it can serve, and
// [Transaction.Unserved] returns the others. octets is the size of the message in the
// first maildrop, 0 if it is in none. The end of ctx ends waits for memory and for the
// commit.
//
// Errors: *refusal.Refusal, perhaps before the content was read to its end; the error of
// content, wrapped; or an unexpected one.
func (t *Transaction) Deliver(ctx context.Context, content io.Reader) (octets int64, err error) {
	if err := t.agent.store.Accepting(); err != nil {
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
	filling := &staged{body: body, ctx: ctx, total: t.agent.staging}
	defer filling.discard()
	if _, err := io.WriteString(filling, received); err != nil {
		return 0, storeRefusal(err)
	}
	panel, err := t.beginChecks(ctx)
	defer panel.close()
	if err != nil {
		return 0, err
	}
	if err := t.receive(panel.over(filling), content); err != nil {
		return 0, err
	}
	fields, err := panel.end(ctx)
	if err != nil {
		return 0, err
	}
	return t.commit(ctx, &storage.Delivery{
		ID: t.envelope.ID, ReturnPath: mail.ReturnPath(t.envelope.ReversePath), Trace: fields,
		Arrived: t.agent.now(), Body: body, Limit: t.settings.Limit,
	})
}

// Unserved returns, after Deliver, the recipients that did not get the message.
func (t *Transaction) Unserved() []Unserved { return t.failed }

// receive writes the content in canonical form.
func (t *Transaction) receive(to io.Writer, content io.Reader) error {
	text := canonical{to: to, limit: t.settings.MaxMessageSize}
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
		return refusal.New(refusal.TooManyHops, "%d Received fields", text.section.hops)
	case text.bare && t.settings.RejectBareNewline:
		return refusal.New(refusal.BareNewline, "bare CR or LF in the content")
	}
	return nil
}

// commit tries the delivery until it is stored or refused. Each further attempt has
// fewer maildrops: without targets of aliases that can never take the message and, after
// ServeEach, without recipients that cannot be served.
func (t *Transaction) commit(ctx context.Context, d *storage.Delivery) (octets int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, commitDeadline)
	defer cancel()
	for len(t.boxes) > 0 {
		d.To = make([]storage.Recipient, len(t.boxes))
		for i, b := range t.boxes {
			d.To[i] = storage.Recipient{Mailbox: b.id, Own: mail.DeliveredTo(b.path)}
		}
		_, err = t.agent.store.Deliver(ctx, d)
		if err == nil {
			t.logLeftOut()
			return d.Octets(d.To[0]), nil
		}
		var misfit *storage.MisfitError
		if !errors.As(err, &misfit) {
			return 0, storeRefusal(err)
		}
		why := misfits(misfit)
		unserved := t.refused(why)
		if len(unserved) > 0 {
			t.noteFull(ctx, why)
			if !t.each {
				return 0, t.refuseAll(unserved)
			}
			t.failed = append(t.failed, unserved...)
		}
		t.spare(why)
	}
	return 0, nil
}

// verdicts are the maildrops that cannot take a message, as the commit found, and why.
type verdicts map[mail.MailboxID]storage.MisfitReason

func misfits(e *storage.MisfitError) verdicts {
	why := verdicts{}
	for _, m := range e.Misfits {
		why[m.Mailbox] = m.Reason
	}
	return why
}

// never reports whether a maildrop can never take the message.
func (v verdicts) never(id mail.MailboxID) bool {
	reason, found := v[id]
	return found && (reason == storage.MisfitDisabled || reason == storage.MisfitTooLarge)
}

// spares reports whether a maildrop is left out for a recipient: it can never take the
// message, and is a target of an alias that has another which can.
func (v verdicts) spares(r recipient, id mail.MailboxID) bool {
	return r.alias && v.never(id) && slices.ContainsFunc(r.boxes, func(id mail.MailboxID) bool { return !v.never(id) })
}

// refused returns the recipients that cannot be served, each with its answer. A
// recipient that leads to several maildrops reaches all of them or none, since its
// sender will try again.
func (t *Transaction) refused(why verdicts) []Unserved {
	var all []Unserved
	for _, r := range t.recipients {
		if answer := t.answer(r, why); answer != nil {
			all = append(all, Unserved{r.path, answer})
		}
	}
	return all
}

// spare removes the recipients that cannot be served, the targets that are left out,
// and the maildrops that no recipient leads to any more.
func (t *Transaction) spare(why verdicts) {
	t.recipients = slices.DeleteFunc(t.recipients, func(r recipient) bool { return t.answer(r, why) != nil })
	for i, r := range t.recipients {
		var kept []mail.MailboxID
		for _, id := range r.boxes {
			if !why.spares(r, id) {
				kept = append(kept, id)
				continue
			}
			text := tooSmall
			if why[id] == storage.MisfitDisabled {
				text = disabled
			}
			t.leftOut = append(t.leftOut, leftOut{t.boxes[t.indexOf(id)].address, r.path, text})
		}
		t.recipients[i].boxes = kept
	}
	var boxes []box
	for _, b := range t.boxes {
		i := slices.IndexFunc(t.recipients, func(r recipient) bool { return slices.Contains(r.boxes, b.id) })
		if i >= 0 {
			b.path = t.recipients[i].path
			boxes = append(boxes, b)
		}
	}
	t.boxes = boxes
}

// logLeftOut logs the targets of aliases that did not get the message.
func (t *Transaction) logLeftOut() {
	for _, o := range t.leftOut {
		t.agent.logger.Info(logs.LeftOut, logs.ID, t.ID(), logs.From, t.ReversePath().String(), logs.To, o.path.String(),
			logs.Mailbox, o.address.String(), logs.Reason, o.why)
	}
}

// noteFull passes the maildrops that the commit found full to fullness.
func (t *Transaction) noteFull(ctx context.Context, why verdicts) {
	for _, b := range t.boxes {
		if reason, found := why[b.id]; !found || reason != storage.MisfitFull {
			continue
		}
		found, err := t.agent.directory.Lookup(ctx, b.address)
		if err == nil && found.Mailbox != nil && found.Mailbox.ID == b.id {
			t.agent.fullness.refused(*found.Mailbox, found.Mailbox.Effective.Limit.Or(t.settings.Limit))
		}
	}
}

// refuseAll returns the one answer for all recipients. A lone recipient gets its exact
// answer. Several recipients get a temporary one. At the next attempt each of those
// without room has to be alone in a transaction, and then gets its exact answer.
func (t *Transaction) refuseAll(unserved []Unserved) *refusal.Refusal {
	if len(t.recipients) == 1 {
		return unserved[0].Why
	}
	together := refusal.New(refusal.Changed, "%s", unserved[0].Why.Detail)
	for _, u := range unserved {
		switch u.Why.Reason {
		case refusal.Full, refusal.FullDeferred, refusal.TargetFull, refusal.TooLargeForBox:
			together = refusal.New(refusal.SomeFull, "%s", u.Why.Detail)
			t.agent.misfits.add(t.key(u.To), t.agent.now())
		}
	}
	return together
}

// answer returns the refusal of one recipient by what the commit found, as RCPT would
// have answered. nil: it can be served.
func (t *Transaction) answer(r recipient, why verdicts) *refusal.Refusal {
	var answer *refusal.Refusal
	for _, id := range r.boxes {
		reason, found := why[id]
		if !found || why.spares(r, id) {
			continue
		}
		address := t.boxes[t.indexOf(id)].address
		var one *refusal.Refusal
		switch reason {
		case storage.MisfitTooLarge:
			one = t.noRoom(quota.TooLarge, r.alias, address)
		case storage.MisfitDisabled:
			one = refusal.New(refusal.Disabled, "%s was disabled meanwhile", address)
		case storage.MisfitGone:
			one = refusal.New(refusal.NoMailbox, "%s was removed meanwhile", address)
			if r.alias {
				one.Reason = refusal.Changed
			}
		default:
			one = t.noRoom(quota.Full, r.alias, address)
		}
		if answer == nil || hope[one.Reason] > hope[answer.Reason] {
			answer = one
		}
	}
	return answer
}

// hope ranks the answers of an alias's targets. The highest is sent: one that says that
// the message may still get through.
var hope = map[refusal.Reason]int{refusal.Disabled: 0, refusal.TooLargeForBox: 1, refusal.Changed: 2, refusal.TargetFull: 3}
