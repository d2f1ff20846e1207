package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
)

// parseAddress reads a mailbox address and folds it.
func parseAddress(text string) (mail.Address, error) {
	if strings.HasPrefix(text, "@") {
		return mail.Address{}, advise(nil, "%q is the catch-all of a domain, not a mailbox: only mailsrv alias takes it", text)
	}
	a, err := mail.ParseAddress(text)
	if err == nil {
		return a.Fold(), nil
	}
	if bare, named := withoutName(text); named {
		return mail.Address{}, advise(err, "%q is an address with a name: write the address alone, %s", text, bare)
	}
	return mail.Address{}, advise(err, "%v", err)
}

// withoutName returns the address in "Name <local@domain>", as it is copied from mail
// programs.
func withoutName(text string) (string, bool) {
	inner, closed := strings.CutSuffix(strings.TrimSpace(text), ">")
	inner = inner[strings.LastIndexByte(inner, '<')+1:]
	_, err := mail.ParseAddress(inner)
	return inner, closed && err == nil
}

// mayBeAdded returns why a new mailbox or alias cannot have an address, or nil. Existing
// ones with such an address can still be changed and removed.
func mayBeAdded(a mail.Address) error {
	bare, _ := a.WithoutTag()
	switch {
	case a.Local == "*":
		return advise(nil, "%q would be an address of its own, with a literal *: the catch-all is an alias, write @%s", a, a.Domain)
	case strings.Contains(a.Local, "*"):
		return advise(nil, "%q would be an address of its own, with a literal *: there are no patterns, add each address, or the catch-all @%s", a, a.Domain)
	case len(bare.Local) > mail.MaxLocal: // folding may have made it longer
		return advise(nil, "bad address: the local part has more than %d octets: write a shorter one", mail.MaxLocal)
	}
	return nil
}

// parseAlias reads an address that may be a catch-all, "@me.com".
func parseAlias(text string) (mail.Address, error) {
	if domain, catchAll := strings.CutPrefix(text, "@"); catchAll {
		name, err := parseDomain(domain)
		return mail.Address{Domain: name}, err
	}
	return parseAddress(text)
}

// parseDomain reads the name of a domain.
func parseDomain(text string) (string, error) {
	if at := strings.LastIndexByte(text, '@'); at >= 0 {
		return "", advise(nil, "%q is an address: write its domain alone, %s", text, text[at+1:])
	}
	name, err := mail.ParseDomain(text)
	if err != nil {
		return "", advise(err, "%q is not a domain name: write one such as me.com", text)
	}
	return name, nil
}

// newDomain is parseDomain for a domain to be added. It refuses IP addresses, although
// mail can be sent to one (RFC 5321 section 4.1.3).
func newDomain(text string) (string, error) {
	name, err := parseDomain(text)
	if err != nil && net.ParseIP(text) == nil { // an IPv6 address
		return "", err
	}
	last := name[strings.LastIndexByte(name, '.')+1:]
	if strings.HasPrefix(name, "[") || strings.Trim(last, "0123456789") == "" {
		return "", advise(mail.ErrAddress, "%q is the address of a machine: write the domain that people send to, such as me.com", text)
	}
	return name, nil
}

// AliasName returns an alias's address as users write it: a catch-all as "@me.com".
func AliasName(a mail.Address) string {
	if a.Local == "" {
		return "@" + a.Domain
	}
	return a.String()
}

// mailbox returns the mailbox with an address.
func (a *Admin) mailbox(ctx context.Context, text string) (directory.Mailbox, error) {
	address, err := parseAddress(text)
	if err != nil {
		return directory.Mailbox{}, err
	}
	match, err := a.Directory.Lookup(ctx, address)
	switch {
	case err != nil:
		return directory.Mailbox{}, fmt.Errorf("look up %s: %w", address, err)
	case !match.Hosted:
		return directory.Mailbox{}, notHosted(address.Domain)
	case match.Alias != nil:
		return directory.Mailbox{}, advise(directory.ErrNotFound,
			"%s is an alias, not a mailbox: see: mailsrv alias list %s", address, address)
	case match.Mailbox == nil:
		return directory.Mailbox{}, advise(directory.ErrNotFound,
			"there is no mailbox %s: see: mailsrv mailbox list %s", address, address.Domain)
	}
	return a.complete(*match.Mailbox), nil
}

// complete fills the part of the limit that a mailbox inherits from the server.
func (a *Admin) complete(m directory.Mailbox) directory.Mailbox {
	m.Effective.Limit = m.Effective.Limit.Or(a.Limit)
	return m
}

// hosted returns an error unless a domain is hosted here.
func (a *Admin) hosted(ctx context.Context, domain string) error {
	_, err := a.Directory.Domain(ctx, domain)
	if errors.Is(err, directory.ErrNotFound) {
		return notHosted(domain)
	}
	return err
}

func notHosted(domain string) error {
	return advise(directory.ErrNotFound, "%s is not hosted here: add it with: mailsrv domain add %s", domain, domain)
}

func advise(err error, format string, args ...any) error {
	return &Advice{Text: fmt.Sprintf(format, args...), Err: err}
}
