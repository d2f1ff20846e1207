package directory

import (
	"context"
	"errors"

	"mailsrv/internal/mail"
)

// Bounds on what one forward-path may stand for.
const (
	maxDepth   = 10              // aliases in a chain of aliases
	maxTargets = 100             // mailboxes that one alias reaches
	maxSteps   = 10 * maxTargets // addresses looked up
)

// Reasons why an address receives no mail.
var (
	ErrNotHosted  = errors.New("domain is not hosted here")
	ErrNoMailbox  = errors.New("no such mailbox")
	ErrDisabled   = errors.New("mailbox is disabled")
	ErrBadAlias   = errors.New("alias loops, or expands beyond bounds")
	errNotMatched = errors.New("nothing under this address")
)

// Route is where a forward-path leads.
type Route struct {
	Mailboxes []Mailbox // each once, all of which receive; at least one
	LeftOut   []Mailbox // targets of an alias that do not receive mail, each once
	Alias     bool      // an alias, a catch-all, postmaster or abuse led there
}

// Resolve follows a forward-path to the mailboxes that receive its mail. It tries, in
// this order: the full address; the address without its +tag; the mailbox that serves
// postmaster and abuse; the catch-all. Targets of an alias that do not receive mail are
// left out as long as another target does. Errors: [ErrNotHosted], [ErrNoMailbox],
// [ErrDisabled], [ErrBadAlias], or the reader's.
func Resolve(ctx context.Context, r Reader, forwardPath mail.Address) (Route, error) {
	x := expansion{reader: r, seen: map[mail.MailboxID]bool{}}
	if err := x.follow(ctx, forwardPath.Fold(), 0); err != nil {
		return Route{}, err
	}
	if len(x.route.Mailboxes) == 0 {
		return Route{}, ErrDisabled // a disabled mailbox's mail does not go to the catch-all
	}
	return x.route, nil
}

type expansion struct {
	reader Reader
	route  Route
	seen   map[mail.MailboxID]bool
	steps  int
}

// follow adds the mailboxes that one address leads to.
func (x *expansion) follow(ctx context.Context, a mail.Address, depth int) error {
	err := x.match(ctx, a, depth)
	if !errors.Is(err, errNotMatched) {
		return err
	}
	if bare, tagged := a.WithoutTag(); tagged {
		if err := x.match(ctx, bare, depth); !errors.Is(err, errNotMatched) {
			return err
		}
		a = bare
	}
	if a.Local == "postmaster" || a.Local == "abuse" { // RFC 5321 section 4.5.1, RFC 2142
		m, err := x.reader.Postmaster(ctx, a.Domain)
		if !errors.Is(err, ErrNotFound) {
			if err != nil {
				return err
			}
			x.route.Alias = true
			return x.add(m)
		}
	}
	err = x.match(ctx, mail.Address{Domain: a.Domain}, depth)
	if errors.Is(err, errNotMatched) {
		return ErrNoMailbox
	}
	return err
}

// match adds the mailboxes of exactly this address, or returns errNotMatched.
func (x *expansion) match(ctx context.Context, a mail.Address, depth int) error {
	x.steps++
	if depth > maxDepth || x.steps > maxSteps {
		return ErrBadAlias
	}
	m, err := x.reader.Lookup(ctx, a)
	switch {
	case err != nil:
		return err
	case !m.Hosted:
		return ErrNotHosted
	case m.Mailbox != nil:
		return x.add(*m.Mailbox)
	case m.Alias != nil:
		x.route.Alias = true
		for _, target := range m.Alias.Targets {
			if err := x.follow(ctx, target, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	return errNotMatched
}

func (x *expansion) add(m Mailbox) error {
	switch {
	case x.seen[m.ID]:
		return nil
	case len(x.seen) == maxTargets:
		return ErrBadAlias
	}
	x.seen[m.ID] = true
	if m.Switches.Has(Receives) {
		x.route.Mailboxes = append(x.route.Mailboxes, m)
	} else {
		x.route.LeftOut = append(x.route.LeftOut, m)
	}
	return nil
}
