package admin

import (
	"context"
	"errors"
	"fmt"

	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
)

// AddAlias adds targets to an alias, and the alias if there is none. It returns the
// alias with all its targets. It refuses an alias that could not be resolved.
func (a *Admin) AddAlias(ctx context.Context, text string, targets []string) (directory.Alias, error) {
	alias, err := parseWhole(text, targets)
	if err == nil {
		err = mayBeAdded(alias.Address)
	}
	if err != nil {
		return directory.Alias{}, err
	}
	match, err := a.Directory.Lookup(ctx, alias.Address)
	switch {
	case err != nil:
		return directory.Alias{}, fmt.Errorf("look up %s: %w", AliasName(alias.Address), err)
	case !match.Hosted:
		return directory.Alias{}, notHosted(alias.Address.Domain)
	case match.Mailbox != nil:
		return directory.Alias{}, advise(directory.ErrExists, "%s is a mailbox: an alias needs an address of its own", alias.Address)
	}
	for _, target := range alias.Targets {
		if err := a.mayBeTarget(ctx, alias.Address, target); err != nil {
			return directory.Alias{}, err
		}
	}
	whole := alias
	if match.Alias != nil {
		whole.Targets = append(append([]mail.Address{}, match.Alias.Targets...), alias.Targets...)
	}
	_, err = directory.Resolve(ctx, withAlias{a.Directory, whole}, alias.Address)
	switch {
	case errors.Is(err, directory.ErrBadAlias):
		return directory.Alias{}, advise(err, "%s would lead back to itself, or to too many mailboxes: see: mailsrv alias list", AliasName(alias.Address))
	case errors.Is(err, directory.ErrDisabled):
		return directory.Alias{}, advise(err, "every mailbox behind %s is disabled, so its mail would be refused: enable one first with: mailsrv mailbox enable ADDRESS", AliasName(alias.Address))
	case err != nil:
		return directory.Alias{}, fmt.Errorf("follow %s: %w", AliasName(alias.Address), err)
	}
	var outgrown *directory.OutgrownError
	switch err := a.Directory.AddAlias(ctx, alias); {
	case errors.As(err, &outgrown):
		return directory.Alias{}, advise(err, "%s would then lead back to itself, or to too many mailboxes: see: mailsrv alias list", AliasName(outgrown.Alias))
	case err != nil:
		return directory.Alias{}, fmt.Errorf("add alias %s: %w", AliasName(alias.Address), err)
	}
	a.recordAlias("alias add", alias)
	return a.alias(ctx, alias.Address)
}

// mayBeTarget returns why an address cannot be the target of an alias, or nil.
func (a *Admin) mayBeTarget(ctx context.Context, alias, target mail.Address) error {
	match, err := a.Directory.Lookup(ctx, target)
	switch {
	case err != nil:
		return fmt.Errorf("look up %s: %w", target, err)
	case !match.Hosted:
		return advise(directory.ErrNotHosted, "the target %s is elsewhere: an alias leads to mailboxes and aliases of domains hosted here", target)
	case target == alias:
		return advise(directory.ErrBadAlias, "%s would lead back to itself: name another target", target)
	case match.Mailbox == nil && match.Alias == nil && mayBeAdded(target) != nil:
		return advise(directory.ErrNotFound, "the target %s is neither mailbox nor alias here, and cannot become one", target)
	case match.Mailbox == nil && match.Alias == nil:
		return advise(directory.ErrNotFound, "the target %s is neither mailbox nor alias here: add it first with: mailsrv mailbox add %s", target, target)
	}
	return nil
}

// withAlias is a directory that shows one alias as it will be after the change.
type withAlias struct {
	directory.Reader
	alias directory.Alias
}

func (w withAlias) Lookup(ctx context.Context, a mail.Address) (directory.Match, error) {
	if a == w.alias.Address {
		return directory.Match{Hosted: true, Alias: &w.alias}, nil
	}
	return w.Reader.Lookup(ctx, a)
}

// Aliases returns the aliases of a domain, the alias with one address, or all for "".
func (a *Admin) Aliases(ctx context.Context, text string) ([]directory.Alias, error) {
	domain := ""
	if text != "" {
		if address, err := parseAlias(text); err == nil {
			one, err := a.alias(ctx, address)
			return []directory.Alias{one}, err
		}
		var err error
		if domain, err = parseDomain(text); err != nil {
			return nil, err
		}
		if err := a.hosted(ctx, domain); err != nil {
			return nil, err
		}
	}
	all, err := a.Directory.Aliases(ctx, domain)
	if err != nil {
		return nil, fmt.Errorf("list aliases: %w", err)
	}
	return all, nil
}

func (a *Admin) alias(ctx context.Context, address mail.Address) (directory.Alias, error) {
	match, err := a.Directory.Lookup(ctx, address)
	switch {
	case err != nil:
		return directory.Alias{}, fmt.Errorf("look up %s: %w", AliasName(address), err)
	case !match.Hosted:
		return directory.Alias{}, notHosted(address.Domain)
	case match.Alias == nil:
		return directory.Alias{}, noAlias(address)
	}
	return *match.Alias, nil
}

func noAlias(address mail.Address) error {
	return advise(directory.ErrNotFound, "there is no alias %s: see: mailsrv alias list %s", AliasName(address), address.Domain)
}

// RemoveAlias removes targets from an alias. It removes the alias if no target is named
// or none is left. It returns the alias with the targets that are left.
func (a *Admin) RemoveAlias(ctx context.Context, text string, targets []string) (directory.Alias, error) {
	alias, err := parseWhole(text, targets)
	if err != nil {
		return directory.Alias{}, err
	}
	before, err := a.alias(ctx, alias.Address)
	if err != nil {
		return directory.Alias{}, err
	}
	gone := map[mail.Address]bool{}
	for _, target := range alias.Targets {
		gone[target] = true
	}
	left := directory.Alias{Address: alias.Address}
	for _, target := range before.Targets {
		if len(alias.Targets) > 0 && !gone[target] {
			left.Targets = append(left.Targets, target)
		}
		delete(gone, target)
	}
	for target := range gone {
		return directory.Alias{}, advise(directory.ErrNotFound, "%s is no target of %s: see: mailsrv alias list %s",
			target, AliasName(alias.Address), AliasName(alias.Address))
	}
	switch err := a.Directory.RemoveAlias(ctx, alias); {
	case errors.Is(err, directory.ErrInUse):
		return directory.Alias{}, a.whyAliasInUse(ctx, alias.Address, err)
	case err != nil:
		return directory.Alias{}, fmt.Errorf("remove alias %s: %w", AliasName(alias.Address), err)
	}
	a.recordAlias("alias remove", alias)
	return left, nil
}

func (a *Admin) whyAliasInUse(ctx context.Context, address mail.Address, cause error) error {
	aliases, err := a.Directory.Aliases(ctx, "")
	if err != nil {
		return fmt.Errorf("list aliases: %w", err)
	}
	for _, alias := range aliases {
		for _, target := range alias.Targets {
			if target == address {
				return advise(cause, "the alias %s leads to %s: remove that target first with: mailsrv alias remove %s %s",
					AliasName(alias.Address), AliasName(address), AliasName(alias.Address), AliasName(address))
			}
		}
	}
	return advise(cause, "%s is still in use: try again", AliasName(address))
}

// parseWhole reads an alias and its targets, without repeats.
func parseWhole(text string, targets []string) (directory.Alias, error) {
	address, err := parseAlias(text)
	if err != nil {
		return directory.Alias{}, err
	}
	alias := directory.Alias{Address: address}
	seen := map[mail.Address]bool{}
	for _, t := range targets {
		target, err := parseAddress(t)
		if err != nil {
			return directory.Alias{}, err
		}
		if !seen[target] {
			seen[target] = true
			alias.Targets = append(alias.Targets, target)
		}
	}
	return alias, nil
}
