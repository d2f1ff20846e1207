package admin

import (
	"context"
	"errors"
	"fmt"

	"mailsrv/internal/auth"
	"mailsrv/internal/directory"
	"mailsrv/internal/logs"
	"mailsrv/internal/mail"
	"mailsrv/quota"
)

// Secret is the password of a mailbox, or a hash of it that another system made. One of
// the two is set.
type Secret struct {
	Password string
	Hash     string
}

// hash returns the hash to store for the mailbox text. Its errors never have the secret
// in their text.
func (s Secret) hash(text string) (string, error) {
	if s.Hash != "" {
		if err := auth.ValidateHash(s.Hash); err != nil {
			return "", advise(err, "the hash for %s is refused, and nothing was changed: %v", text, err)
		}
		return s.Hash, nil
	}
	hash, err := auth.Hash(s.Password)
	if err != nil {
		return "", advise(err, "%v", err)
	}
	return hash, nil
}

// MailboxChange is what to change of a mailbox.
type MailboxChange struct {
	Limit     LimitChange
	Retention RetentionChange
}

// attrs returns the parts of a mailbox that were set, as attributes for record.
func (c MailboxChange) attrs(address mail.Address) []any {
	return append(append([]any{logs.Mailbox, address}, c.Limit.attrs()...), c.Retention.attrs()...)
}

// MayAddMailbox returns why a mailbox cannot be added, or nil. It is called before a
// password is asked for.
func (a *Admin) MayAddMailbox(ctx context.Context, text string) error {
	address, err := parseAddress(text)
	if err == nil {
		err = mayBeAdded(address)
	}
	if err != nil {
		return err
	}
	match, err := a.Directory.Lookup(ctx, address)
	switch {
	case err != nil:
		return fmt.Errorf("look up %s: %w", address, err)
	case !match.Hosted:
		return notHosted(address.Domain)
	case match.Mailbox != nil:
		return advise(directory.ErrExists, "the mailbox %s exists already: change it with: mailsrv mailbox set or passwd %s", address, address)
	case match.Alias != nil:
		return advise(directory.ErrExists, "%s is an alias: remove it first with: mailsrv alias remove %s", address, address)
	}
	return nil
}

// AddMailbox adds a mailbox with all switches on.
func (a *Admin) AddMailbox(ctx context.Context, text string, secret Secret, change MailboxChange) (directory.Mailbox, error) {
	if err := a.MayAddMailbox(ctx, text); err != nil {
		return directory.Mailbox{}, err
	}
	address, err := parseAddress(text)
	if err != nil {
		return directory.Mailbox{}, err
	}
	hash, err := secret.hash(text)
	if err != nil {
		return directory.Mailbox{}, err
	}
	m := directory.Mailbox{
		Address: address, Switches: directory.AllOn, Hash: hash,
		Policy: directory.Policy{Limit: change.Limit.apply(quota.Limit{}), Retention: change.Retention.apply(directory.Retention{})},
	}
	if _, err := a.Directory.AddMailbox(ctx, m); err != nil {
		return directory.Mailbox{}, fmt.Errorf("add mailbox %s: %w", address, err)
	}
	a.record("mailbox add", change.attrs(address)...)
	return a.mailbox(ctx, text)
}

// Mailbox returns one mailbox, with the server's limit in its effective one.
func (a *Admin) Mailbox(ctx context.Context, text string) (directory.Mailbox, error) {
	return a.mailbox(ctx, text)
}

// Mailboxes returns the mailboxes of a domain, or all for "", with the server's limit in
// their effective ones.
func (a *Admin) Mailboxes(ctx context.Context, domain string) ([]directory.Mailbox, error) {
	if domain != "" {
		var err error
		if domain, err = parseDomain(domain); err != nil {
			return nil, err
		}
		if err := a.hosted(ctx, domain); err != nil {
			return nil, err
		}
	}
	all, err := a.Directory.Mailboxes(ctx, domain)
	if err != nil {
		return nil, fmt.Errorf("list mailboxes: %w", err)
	}
	for i := range all {
		all[i] = a.complete(all[i])
	}
	return all, nil
}

// SetMailbox changes a mailbox. If its limit becomes less than it holds, it keeps its
// mail and accepts no more.
func (a *Admin) SetMailbox(ctx context.Context, text string, change MailboxChange) (directory.Mailbox, error) {
	return a.change(ctx, text, "mailbox set", change, func(m *directory.Mailbox) {
		m.Limit = change.Limit.apply(m.Limit)
		m.Retention = change.Retention.apply(m.Retention)
	})
}

// SetSecret replaces the password of a mailbox.
func (a *Admin) SetSecret(ctx context.Context, text string, secret Secret) (directory.Mailbox, error) {
	hash, err := secret.hash(text)
	if err != nil {
		return directory.Mailbox{}, err
	}
	return a.change(ctx, text, "mailbox passwd", MailboxChange{}, func(m *directory.Mailbox) { m.Hash = hash })
}

// Enable lets a mailbox receive mail and log in.
func (a *Admin) Enable(ctx context.Context, text string) (directory.Mailbox, error) {
	return a.change(ctx, text, "mailbox enable", MailboxChange{}, func(m *directory.Mailbox) { m.Switches = directory.AllOn })
}

// Disable turns all switches of a mailbox off, and keeps its mail. A mailbox that serves
// as a domain's postmaster cannot be disabled, since that address must receive mail
// (RFC 5321 section 4.5.1).
func (a *Admin) Disable(ctx context.Context, text string) (directory.Mailbox, error) {
	m, err := a.mailbox(ctx, text)
	if err != nil {
		return directory.Mailbox{}, err
	}
	domain, err := a.servedBy(ctx, m.Address)
	if err != nil {
		return directory.Mailbox{}, err
	}
	if domain != "" {
		return directory.Mailbox{}, advise(directory.ErrInUse, "%s receives the mail for postmaster@%s: choose another mailbox first with: mailsrv domain set %s --postmaster ADDRESS",
			m.Address, domain, domain)
	}
	return a.change(ctx, text, "mailbox disable", MailboxChange{}, func(m *directory.Mailbox) { m.Switches = 0 })
}

// servedBy returns a domain whose postmaster the mailbox is, or "".
func (a *Admin) servedBy(ctx context.Context, address mail.Address) (string, error) {
	domains, err := a.Directory.Domains(ctx)
	if err != nil {
		return "", fmt.Errorf("list domains: %w", err)
	}
	for _, d := range domains {
		if d.Postmaster == address {
			return d.Name, nil
		}
	}
	switch first, err := a.Directory.Postmaster(ctx, address.Domain); {
	case errors.Is(err, directory.ErrNotFound):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("read the postmaster of %s: %w", address.Domain, err)
	case first.Address == address:
		return address.Domain, nil
	}
	return "", nil
}

// change calls edit to change a mailbox, and records the action with what was set.
func (a *Admin) change(ctx context.Context, text, action string, set MailboxChange, edit func(*directory.Mailbox)) (directory.Mailbox, error) {
	m, err := a.mailbox(ctx, text)
	if err != nil {
		return directory.Mailbox{}, err
	}
	if err := a.Directory.ChangeMailbox(ctx, m.Address, edit); err != nil {
		return directory.Mailbox{}, fmt.Errorf("change mailbox %s: %w", m.Address, err)
	}
	a.record(action, set.attrs(m.Address)...)
	return a.mailbox(ctx, text)
}

// RemoveMailbox removes a mailbox with all its mail, also deleted mail that could be
// brought back. It returns the usage that was removed.
func (a *Admin) RemoveMailbox(ctx context.Context, text string) (quota.Usage, error) {
	m, err := a.mailbox(ctx, text)
	if err != nil {
		return quota.Usage{}, err
	}
	removed, err := a.Directory.RemoveMailbox(ctx, m.Address)
	switch {
	case errors.Is(err, directory.ErrInUse):
		return quota.Usage{}, a.whyMailboxInUse(ctx, m.Address, err)
	case err != nil:
		return quota.Usage{}, fmt.Errorf("remove mailbox %s: %w", m.Address, err)
	}
	a.record("mailbox remove", logs.Mailbox, m.Address)
	if removed.Messages > 0 {
		a.Logger.Info(logs.Expunged, logs.Mailbox, m.Address, logs.Messages, removed.Messages,
			logs.Octets, removed.Octets, logs.Reason, "mailbox removed by the administrator")
	}
	return removed, nil
}

// whyMailboxInUse names what still needs a mailbox, and the command to change that.
func (a *Admin) whyMailboxInUse(ctx context.Context, address mail.Address, cause error) error {
	aliases, err := a.Directory.Aliases(ctx, "")
	if err != nil {
		return fmt.Errorf("list aliases: %w", err)
	}
	for _, alias := range aliases {
		for _, target := range alias.Targets {
			if target == address {
				return advise(cause, "the alias %s leads to %s: remove that target first with: mailsrv alias remove %s %s",
					AliasName(alias.Address), address, AliasName(alias.Address), address)
			}
		}
	}
	domain, err := a.servedBy(ctx, address)
	if err != nil {
		return err
	}
	if domain != "" {
		return advise(cause, "%s receives the mail for postmaster@%s: choose another mailbox first with: mailsrv domain set %s --postmaster ADDRESS",
			address, domain, domain)
	}
	return advise(cause, "%s is still in use: try again", address)
}
