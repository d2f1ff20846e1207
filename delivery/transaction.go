package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
	"mailsrv/internal/refusal"
	"mailsrv/quota"
	"mailsrv/storage"
)

// Transaction is one mail transaction, from MAIL to the end of the content. It
// is not safe for concurrent use.
type Transaction struct {
	agent      *Agent
	settings   Settings
	envelope   mail.Envelope
	recipients []recipient
	boxes      []box
	leftOut    []leftOut
	failed     []Unserved
	each       bool // ServeEach was called
	alone      bool // the recipient had no room earlier: no other is accepted
}

// recipient is a forward-path that was accepted.
type recipient struct {
	path  mail.Address
	alias bool
	boxes []mail.MailboxID // where it leads, at least one
}

// box is a maildrop that the message goes to, once, however many recipients lead there.
type box struct {
	id      mail.MailboxID
	address mail.Address
	path    mail.Address // of the first recipient that leads there
}

// leftOut is a target of an alias that can never take the message, while others can.
type leftOut struct {
	address mail.Address
	path    mail.Address // the alias
	why     string
}

const (
	disabled = "disabled"
	tooSmall = "the message is larger than its whole limit"
)

// ID returns the message's id.
func (t *Transaction) ID() string { return t.envelope.ID }

// ReversePath returns the sender of the message; the zero Address for a notification.
func (t *Transaction) ReversePath() mail.Address { return t.envelope.ReversePath }

// Mailboxes returns the addresses of the mailboxes that the message goes to, separated
// by commas, for the log.
func (t *Transaction) Mailboxes() string {
	names := make([]string, len(t.boxes))
	for i, b := range t.boxes {
		names[i] = b.address.String()
	}
	return strings.Join(names, ",")
}

// Maildrops returns to how many maildrops the message goes.
func (t *Transaction) Maildrops() int { return len(t.boxes) }

// ServeEach makes [Transaction.Deliver] serve the recipients that it can, in place of all
// or none. LMTP needs it, whose client gets an answer for each recipient, and so does
// submission. It must be called before the first AddRecipient.
func (t *Transaction) ServeEach() { t.each = true }

// AddRecipient adds the maildrops that a forward-path leads to. Errors: *refusal.Refusal,
// or an unexpected one; the transaction is then as it was before.
func (t *Transaction) AddRecipient(ctx context.Context, path mail.Address) error {
	if err := t.agent.store.Accepting(); err != nil {
		return storeRefusal(err)
	}
	route, err := directory.Resolve(ctx, t.agent.directory, path)
	if err != nil {
		return routeRefusal(err, path)
	}
	remembered := !t.each && t.agent.misfits.has(t.key(path), t.agent.now())
	if len(t.recipients) > 0 && (remembered || t.alone) {
		return refusal.New(refusal.MustBeAlone, "%s or a recipient before it had no room earlier", path)
	}
	var (
		needed = quota.Usage{Octets: t.envelope.Size + t.traceOctets(path) + t.agent.checkOctets, Messages: 1}
		r      = recipient{path: path, alias: route.Alias}
		added  []box
		out    []leftOut
		last   mail.Address // the last target whose whole limit is too small
	)
	for _, m := range route.LeftOut {
		out = append(out, leftOut{m.Address, path, disabled})
	}
	for _, m := range route.Mailboxes {
		if t.indexOf(m.ID) >= 0 {
			r.boxes = append(r.boxes, m.ID)
			continue
		}
		limit := m.Effective.Limit.Or(t.settings.Limit)
		verdict := limit.Judge(m.Usage, needed)
		switch {
		case verdict == quota.Fits:
			t.agent.fullness.fits(m, limit)
			added = append(added, box{id: m.ID, address: m.Address, path: path})
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
	if err := t.agent.checkRecipient(ctx, t.envelope, path); err != nil {
		return err
	}
	t.alone = t.alone || remembered
	t.recipients = append(t.recipients, r)
	t.boxes = append(t.boxes, added...)
	t.leftOut = append(t.leftOut, out...)
	return nil
}

// indexOf returns the index of a maildrop in t.boxes, or -1.
func (t *Transaction) indexOf(id mail.MailboxID) int {
	return slices.IndexFunc(t.boxes, func(b box) bool { return b.id == id })
}

// traceOctets returns the length in octets of the trace fields of a message to path.
// Received names a recipient only if it is the only one. The first recipient is counted
// as such; with a second one the fields become shorter.
func (t *Transaction) traceOctets(path mail.Address) int64 {
	var lone mail.Address
	if len(t.recipients) == 0 {
		lone = path
	}
	return int64(len(mail.ReturnPath(t.envelope.ReversePath)) + len(mail.DeliveredTo(path)) +
		len(mail.Received(&t.envelope, t.agent.hostname, lone)))
}

// noRoom returns the refusal of a recipient whose maildrop has no room for the message.
// For a full target of an alias it is temporary whatever the settings say, since the
// sender wrote to the alias and not to that mailbox.
func (t *Transaction) noRoom(v quota.Verdict, alias bool, a mail.Address) *refusal.Refusal {
	switch {
	case v == quota.TooLarge:
		return refusal.New(refusal.TooLargeForBox, "more than the whole limit of %s", a)
	case alias:
		return refusal.New(refusal.TargetFull, "maildrop of %s is full", a)
	case t.settings.Defer:
		return refusal.New(refusal.FullDeferred, "maildrop of %s is full", a)
	}
	return refusal.New(refusal.Full, "maildrop of %s is full", a)
}

func (t *Transaction) key(path mail.Address) misfitKey {
	return newMisfitKey(t.envelope.Client.Addr, t.envelope.ReversePath, path)
}

func routeRefusal(err error, path mail.Address) error {
	for is, reason := range map[error]refusal.Reason{
		directory.ErrNotHosted: refusal.NotHosted,
		directory.ErrNoMailbox: refusal.NoMailbox,
		directory.ErrDisabled:  refusal.Disabled,
		directory.ErrBadAlias:  refusal.BadAlias,
	} {
		if errors.Is(err, is) {
			return refusal.New(reason, "%s: %v", path, err)
		}
	}
	return fmt.Errorf("route %s: %w", path, err)
}

// storeRefusal turns the errors of the store that a sender may know into refusals, and
// returns others as they are.
func storeRefusal(err error) error {
	switch known := refusal.Of(err); {
	case known != nil:
		return known
	case errors.Is(err, storage.ErrNoSpace):
		return refusal.New(refusal.NoSpace, "%v", err)
	case errors.Is(err, storage.ErrNoMemory), errors.Is(err, storage.ErrStagedFull):
		return refusal.New(refusal.NoMemory, "%v", err)
	}
	return err
}

// Begin opens a transaction for one message of a client. size is the number of octets
// that the client declares, 0 if it does not. The transaction need not be closed.
func (a *Agent) Begin(client mail.Client, reversePath mail.Address, size int64) *Transaction {
	return &Transaction{
		agent:    a,
		settings: *a.settings.Load(),
		envelope: mail.Envelope{
			ID: a.newID(), ReversePath: reversePath, Client: client, Size: size, Received: a.now(),
		},
	}
}
