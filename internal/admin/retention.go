package admin

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"mailsrv/internal/directory"
	"mailsrv/internal/logs"
	"mailsrv/internal/mail"
	"mailsrv/quota"
	"mailsrv/storage"
)

// Undelete brings back what was deleted from a maildrop since a time, as new
// mail and as far as the quota allows. It returns what came back, also with an
// error, and what is still aside.
func (a *Admin) Undelete(ctx context.Context, address string, since time.Time) (restored, left quota.Usage, err error) {
	m, err := a.mailbox(ctx, address)
	if err != nil {
		return restored, left, err
	}
	restored, left, err = a.Store.Undelete(ctx, m.ID, since, a.Limit, mail.NewID)
	if restored.Messages > 0 {
		a.Logger.Info(logs.Accepted, logs.Mailbox, m.Address, logs.Messages, restored.Messages,
			logs.Octets, restored.Octets, logs.Reason, "undeleted by the administrator")
	}
	if err != nil {
		return restored, left, fmt.Errorf("bring back the mail of %s: %w", m.Address, err)
	}
	return restored, left, nil
}

// Aside returns what is kept aside of a mailbox, and can be brought back.
func (a *Admin) Aside(ctx context.Context, m directory.Mailbox) (quota.Usage, error) {
	all, err := a.Store.Aside(ctx, m.ID)
	if err != nil {
		return quota.Usage{}, fmt.Errorf("read what is aside of %s: %w", m.Address, err)
	}
	return all[m.ID], nil
}

// Asides returns what is kept aside of each mailbox that has some.
func (a *Admin) Asides(ctx context.Context) (map[mail.MailboxID]quota.Usage, error) {
	all, err := a.Store.Aside(ctx, 0)
	if err != nil {
		return nil, fmt.Errorf("read what is aside: %w", err)
	}
	return all, nil
}

// Expire removes what the retention of each mailbox says is due at now, and
// logs each message that goes.
func (a *Admin) Expire(ctx context.Context, now time.Time) error {
	var names map[mail.MailboxID]string // read when the first message goes: as a rule none does
	return a.Store.Collect(ctx, now, func(e storage.Expired) {
		if names == nil {
			names = a.names(ctx)
		}
		name := names[e.Mailbox]
		if name == "" { // removed by now
			name = strconv.FormatInt(int64(e.Mailbox), 10)
		}
		a.Logger.Info(logs.Expunged, logs.Mailbox, name, logs.Messages, 1, logs.Octets, e.Octets,
			logs.ID, e.UIDL, logs.Reason, "expired")
	})
}

// names maps mailboxes to their addresses; what cannot be read is left out.
func (a *Admin) names(ctx context.Context) map[mail.MailboxID]string {
	all, _ := a.Directory.Mailboxes(ctx, "")
	names := make(map[mail.MailboxID]string, len(all))
	for _, m := range all {
		names[m.ID] = m.Address.String()
	}
	return names
}
