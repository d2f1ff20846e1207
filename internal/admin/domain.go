package admin

import (
	"context"
	"errors"
	"fmt"

	"mailsrv/internal/directory"
	"mailsrv/internal/logs"
	"mailsrv/internal/mail"
	"mailsrv/quota"
)

// Domain is a [directory.Domain] with what it holds.
type Domain struct {
	directory.Domain
	Serving   mail.Address // the mailbox that receives mail for postmaster; zero: none yet
	Mailboxes int
	Aliases   int
	Usage     quota.Usage // of all its mailboxes
}

// DomainChange is what to change of a domain. nil keeps a part.
type DomainChange struct {
	Postmaster *string // an address; "": the domain's first mailbox
	Limit      LimitChange
	Retention  RetentionChange
}

// attrs returns the parts of a domain that were set, as attributes for record.
func (c DomainChange) attrs(name string, postmaster mail.Address) []any {
	attrs := []any{logs.Domain, name}
	if c.Postmaster != nil {
		attrs = append(attrs, logs.Postmaster, postmaster.String())
	}
	return append(append(attrs, c.Limit.attrs()...), c.Retention.attrs()...)
}

// AddDomain begins to host a domain.
func (a *Admin) AddDomain(ctx context.Context, name string, change DomainChange) (Domain, error) {
	name, err := newDomain(name)
	if err != nil {
		return Domain{}, err
	}
	d := directory.Domain{Name: name, Policy: directory.Policy{
		Limit: change.Limit.apply(quota.Limit{}), Retention: change.Retention.apply(directory.Retention{}),
	}}
	if change.Postmaster != nil {
		if d.Postmaster, err = a.postmaster(ctx, name, *change.Postmaster); err != nil {
			return Domain{}, err
		}
	}
	switch err := a.Directory.AddDomain(ctx, d); {
	case errors.Is(err, directory.ErrExists):
		return Domain{}, advise(err, "%s is hosted here already: change it with: mailsrv domain set %s", name, name)
	case err != nil:
		return Domain{}, fmt.Errorf("add domain %s: %w", name, err)
	}
	a.record("domain add", change.attrs(name, d.Postmaster)...)
	return a.Domain(ctx, name)
}

// postmaster reads the address of a mailbox to be set as a domain's postmaster.
func (a *Admin) postmaster(ctx context.Context, domain, text string) (mail.Address, error) {
	if text == "" {
		return mail.Address{}, nil
	}
	address, err := parseAddress(text)
	if err != nil {
		return mail.Address{}, err
	}
	match, err := a.Directory.Lookup(ctx, address)
	switch {
	case err != nil:
		return mail.Address{}, fmt.Errorf("look up %s: %w", address, err)
	case match.Mailbox == nil && address.Domain == domain:
		return mail.Address{}, advise(directory.ErrNotFound,
			"the postmaster %s must be a mailbox: add it first with: mailsrv mailbox add %s (the first mailbox of a domain is its postmaster by itself)", address, address)
	case match.Mailbox == nil:
		return mail.Address{}, advise(directory.ErrNotFound,
			"the postmaster %s must be a mailbox here: add it first with: mailsrv mailbox add %s", address, address)
	case !match.Mailbox.Switches.Has(directory.Receives):
		return mail.Address{}, advise(directory.ErrDisabled,
			"the postmaster %s is disabled: enable it first with: mailsrv mailbox enable %s", address, address)
	}
	return address, nil
}

// SetDomain changes a domain.
func (a *Admin) SetDomain(ctx context.Context, name string, change DomainChange) (Domain, error) {
	before, err := a.Domain(ctx, name)
	if err != nil {
		return Domain{}, err
	}
	d := before.Domain
	var postmaster mail.Address
	if change.Postmaster != nil {
		if postmaster, err = a.postmaster(ctx, d.Name, *change.Postmaster); err != nil {
			return Domain{}, err
		}
	}
	err = a.Directory.ChangeDomain(ctx, d.Name, func(d *directory.Domain) {
		d.Limit = change.Limit.apply(d.Limit)
		d.Retention = change.Retention.apply(d.Retention)
		if change.Postmaster != nil {
			d.Postmaster = postmaster
		}
	})
	if err != nil {
		return Domain{}, fmt.Errorf("change domain %s: %w", d.Name, err)
	}
	a.record("domain set", change.attrs(d.Name, postmaster)...)
	return a.Domain(ctx, d.Name)
}

// Domain returns one domain.
func (a *Admin) Domain(ctx context.Context, name string) (Domain, error) {
	name, err := parseDomain(name)
	if err != nil {
		return Domain{}, err
	}
	d, err := a.Directory.Domain(ctx, name)
	switch {
	case errors.Is(err, directory.ErrNotFound):
		return Domain{}, notHosted(name)
	case err != nil:
		return Domain{}, fmt.Errorf("read domain %s: %w", name, err)
	}
	all, err := a.fill(ctx, []directory.Domain{d}, name)
	if err != nil {
		return Domain{}, err
	}
	return all[0], nil
}

// Domains lists all domains.
func (a *Admin) Domains(ctx context.Context) ([]Domain, error) {
	all, err := a.Directory.Domains(ctx)
	if err != nil {
		return nil, fmt.Errorf("list domains: %w", err)
	}
	return a.fill(ctx, all, "")
}

// fill counts what domains hold. If only is not "", it is the name of the only one.
func (a *Admin) fill(ctx context.Context, domains []directory.Domain, only string) ([]Domain, error) {
	filled := make([]Domain, len(domains))
	byName := make(map[string]*Domain, len(domains))
	for i, d := range domains {
		d.Effective.Limit = d.Effective.Limit.Or(a.Limit)
		filled[i] = Domain{Domain: d}
		byName[d.Name] = &filled[i]
	}
	mailboxes, err := a.Directory.Mailboxes(ctx, only)
	if err != nil {
		return nil, fmt.Errorf("list mailboxes: %w", err)
	}
	for _, m := range mailboxes {
		if d := byName[m.Address.Domain]; d != nil {
			d.Mailboxes++
			d.Usage = d.Usage.Add(m.Usage)
		}
	}
	aliases, err := a.Directory.Aliases(ctx, only)
	if err != nil {
		return nil, fmt.Errorf("list aliases: %w", err)
	}
	for _, alias := range aliases {
		if d := byName[alias.Address.Domain]; d != nil {
			d.Aliases++
		}
	}
	for i := range filled {
		m, err := a.Directory.Postmaster(ctx, filled[i].Name)
		if err != nil && !errors.Is(err, directory.ErrNotFound) {
			return nil, fmt.Errorf("read the postmaster of %s: %w", filled[i].Name, err)
		}
		filled[i].Serving = m.Address
	}
	return filled, nil
}

// RemoveDomain stops hosting an empty domain.
func (a *Admin) RemoveDomain(ctx context.Context, name string) error {
	name, err := parseDomain(name)
	if err != nil {
		return err
	}
	switch err := a.Directory.RemoveDomain(ctx, name); {
	case errors.Is(err, directory.ErrNotFound):
		return notHosted(name)
	case errors.Is(err, directory.ErrInUse):
		return a.whyDomainInUse(ctx, name, err)
	case err != nil:
		return fmt.Errorf("remove domain %s: %w", name, err)
	}
	a.record("domain remove", logs.Domain, name)
	return nil
}

// whyDomainInUse names what is still in a domain, and the command that removes it.
func (a *Admin) whyDomainInUse(ctx context.Context, name string, cause error) error {
	aliases, err := a.Directory.Aliases(ctx, "")
	if err != nil {
		return fmt.Errorf("list aliases: %w", err)
	}
	for _, alias := range aliases {
		if alias.Address.Domain == name {
			return advise(cause, "%s still has aliases: remove each first with: mailsrv alias remove %s", name, AliasName(alias.Address))
		}
		for _, target := range alias.Targets {
			if target.Domain == name {
				return advise(cause, "the alias %s leads to %s: remove that target first with: mailsrv alias remove %s %s",
					AliasName(alias.Address), target, AliasName(alias.Address), target)
			}
		}
	}
	mailboxes, err := a.Directory.Mailboxes(ctx, name)
	if err != nil {
		return fmt.Errorf("list mailboxes: %w", err)
	}
	if len(mailboxes) > 0 {
		return advise(cause, "%s still has mailboxes: remove each with its mail first with: mailsrv mailbox remove %s", name, mailboxes[0].Address)
	}
	return advise(cause, "%s is still in use: try again", name)
}
