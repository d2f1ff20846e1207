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

// Undelete brings back what was deleted from a maildrop at since or later, as new mail
// and as far as the quota allows. It returns the usage that came back, also with an
// error, and the usage that can still be brought back. If the mailbox is disabled the error
// is [directory.ErrDisabled].
func (a *Admin) Undelete(ctx context.Context, address string, since time.Time) (restored, left quota.Usage, err error) {
	m, err := a.mailbox(ctx, address)
	if err != nil {
		return restored, left, err
	}
	if !m.Switches.Has(directory.Receives) {
		return restored, left, advise(directory.ErrDisabled,
			"%s is disabled, so nothing comes into it: enable it first with: mailsrv mailbox enable %s", m.Address, m.Address)
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

// Expire removes the mail that the retention of each mailbox says is due at now, and
// logs each expired message. ran is for how long the server has run since the previous
// call, 0 at the first call. A [*storage.LeapError] says that the clock was found wrong,
// now or before the start of the server; then nothing is removed.
func (a *Admin) Expire(ctx context.Context, now time.Time, ran time.Duration) error {
	switch leap, pause, err := a.Store.LookAtClock(ctx, now, ran); {
	case err != nil:
		return fmt.Errorf("look at the clock: %w", err)
	case pause > 0 && (leap != 0 || ran == 0):
		return &storage.LeapError{Leap: leap, Pause: pause}
	case pause > 0:
		return nil
	}
	var names map[mail.MailboxID]string // read with the first message: usually there is none
	return a.Store.Collect(ctx, now, func(e storage.Expired) {
		if names == nil {
			names = a.names(ctx)
		}
		name := names[e.Mailbox]
		if name == "" { // the mailbox was removed
			name = strconv.FormatInt(int64(e.Mailbox), 10)
		}
		a.Logger.Info(logs.Expunged, logs.Mailbox, name, logs.Messages, 1, logs.Octets, e.Octets,
			logs.ID, e.UIDL, logs.Reason, "expired")
	})
}

// ConfirmClock says that the clock is right, which ends a pause after a leap.
func (a *Admin) ConfirmClock(ctx context.Context, now time.Time) error {
	if err := a.Store.ClockIsRight(ctx, now); err != nil {
		return fmt.Errorf("note the time: %w", err)
	}
	a.record("check --clock-is-right")
	return nil
}

// names returns the addresses of all mailboxes, or none if they cannot be read.
func (a *Admin) names(ctx context.Context) map[mail.MailboxID]string {
	all, _ := a.Directory.Mailboxes(ctx, "")
	names := make(map[mail.MailboxID]string, len(all))
	for _, m := range all {
		names[m.ID] = m.Address.String()
	}
	return names
}
