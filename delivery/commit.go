package delivery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"mailsrv/internal/logs"
	"mailsrv/internal/mail"
	"mailsrv/quota"
	"mailsrv/storage"
)

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
	d := &storage.Delivery{
		ID: t.envelope.ID, ReturnPath: mail.ReturnPath(t.envelope.ReversePath), Arrived: t.agent.now(), Body: body, Limit: t.settings.Limit,
	}
	ctx, cancel := context.WithTimeout(ctx, commitDeadline)
	defer cancel()
	for {
		d.To = make([]storage.Recipient, len(t.boxes))
		for i, b := range t.boxes {
			d.To[i] = storage.Recipient{Mailbox: b.id, Own: mail.DeliveredTo(t.recipients[b.recipient].path)}
		}
		_, err = t.agent.store.Deliver(ctx, d)
		var misfit *storage.MisfitError
		switch {
		case err == nil:
			t.logLeftOut()
			return d.Octets(d.To[0]), nil
		case !errors.As(err, &misfit):
			return 0, storeRefusal(err)
		case !t.leaveOut(misfit):
			t.noteFull(ctx, misfit)
			return 0, t.misfitRefusal(misfit)
		}
	}
}

// leaveOut takes those out that the commit found unable to take the message at all,
// and reports whether all of them could be spared: targets of aliases that lead
// to others too. Otherwise it changes nothing.
func (t *Transaction) leaveOut(e *storage.MisfitError) bool {
	why := map[mail.MailboxID]string{}
	for _, m := range e.Misfits {
		switch m.Reason {
		case storage.MisfitDisabled:
			why[m.Mailbox] = "disabled"
		case storage.MisfitTooLarge:
			why[m.Mailbox] = tooSmall
		default:
			return false
		}
	}
	unable := func(id mail.MailboxID) bool { return why[id] != "" }
	for _, r := range t.recipients {
		some := slices.ContainsFunc(r.boxes, unable)
		if all := !slices.ContainsFunc(r.boxes, func(id mail.MailboxID) bool { return !unable(id) }); all || some && !r.alias {
			return false
		}
	}
	for i := range t.recipients {
		t.recipients[i].boxes = slices.DeleteFunc(t.recipients[i].boxes, unable)
	}
	t.boxes = slices.DeleteFunc(t.boxes, func(b box) bool {
		if unable(b.id) {
			t.leftOut = append(t.leftOut, leftOut{b.address, t.recipients[b.recipient].path, why[b.id]})
		}
		return unable(b.id)
	})
	return true
}

// logLeftOut names the targets that did not get the message.
func (t *Transaction) logLeftOut() {
	for _, o := range t.leftOut {
		t.agent.logger.Info(logs.LeftOut, logs.ID, t.ID(), logs.From, t.ReversePath().String(), logs.To, o.path.String(),
			logs.Mailbox, o.address.String(), logs.Reason, o.why)
	}
}

// noteFull tells of the maildrops that the commit found full.
func (t *Transaction) noteFull(ctx context.Context, e *storage.MisfitError) {
	for _, m := range e.Misfits {
		if m.Reason != storage.MisfitFull {
			continue
		}
		found, err := t.agent.directory.Lookup(ctx, t.box(m.Mailbox).address)
		if err == nil && found.Mailbox != nil && found.Mailbox.ID == m.Mailbox {
			t.agent.fullness.refused(*found.Mailbox, found.Mailbox.Effective.Limit.Or(t.settings.Limit))
		}
	}
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
	var worst *Refusal
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
			if r.alias {
				answer = refuse(Vanished, "%s was removed meanwhile", b.address)
			}
		}
		if refusal := answer.(*Refusal); worst == nil || hope[refusal.Reason] > hope[worst.Reason] {
			worst = refusal
		}
	}
	switch {
	case lone:
		return worst
	case full:
		return refuse(SomeFull, "%s", worst.Detail)
	}
	return refuse(Vanished, "%s", worst.Detail)
}

// hope ranks what the targets of one alias answer: the sender of a message that may
// still get through hears of that first, as RCPT would tell it.
var hope = map[Reason]int{Disabled: 0, TooLargeForBox: 1, Vanished: 2, TargetFull: 3}
