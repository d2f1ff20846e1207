// Package directory is who receives mail here: domains, mailboxes, aliases,
// and how a forward-path resolves to mailboxes ([Resolve]). It holds the contract of
// the backends below storage ([Reader], [Directory]) and the rules that need no
// database.
//
// Backends store and look up domains and addresses in folded form only (see
// [mail.Address.Fold]). A mailbox and an alias never share an address.
package directory

import (
	"context"
	"errors"
	"time"

	"mailsrv/internal/mail"
	"mailsrv/quota"
)

// Domain is a name for which mail is taken.
type Domain struct {
	Name       string
	Postmaster mail.Address // zero: its oldest mailbox serves as postmaster
	Policy                  // its own, which its mailboxes inherit
	Effective  Policy       // Policy; internal/admin fills in what the server sets
	Created    time.Time
}

// Mailbox is an address that has a login, a limit and a maildrop.
type Mailbox struct {
	ID       mail.MailboxID
	Address  mail.Address
	Switches Switches
	Hash     string // of the password, in modular crypt format
	Policy          // its own
	// Effective is Policy with the domain's filled in. A limit that still is
	// quota.Inherit is that of the server's configuration.
	Effective Policy
	Usage     quota.Usage
	Created   time.Time
}

// Alias is an address that stands for others. An address with an empty local part is
// the catch-all of its domain, written "@me.com".
type Alias struct {
	Address mail.Address
	Targets []mail.Address // in hosted domains, folded, each once
}

// Match is what exists under one address. At most one of Mailbox and Alias is set.
type Match struct {
	Hosted  bool // the address's domain is hosted here
	Mailbox *Mailbox
	Alias   *Alias
}

// Errors of the directory. Their texts say what is wrong. The command line adds what to
// do.
var (
	ErrNotFound = errors.New("not found")
	ErrExists   = errors.New("exists already")
	ErrInUse    = errors.New("still in use")
)

// Reader is what resolving, logging in and listing need. All methods are
// safe for concurrent use, and see every change committed before the call.
type Reader interface {
	// Lookup returns what exists under exactly this folded address, which may be
	// nothing. An empty local part asks for the catch-all.
	Lookup(ctx context.Context, a mail.Address) (Match, error)

	// Postmaster returns the mailbox that receives the mail for postmaster and abuse
	// of a domain: the one that was set, else the oldest. ErrNotFound if the domain
	// has no mailbox.
	Postmaster(ctx context.Context, domain string) (Mailbox, error)

	// Expiries returns each value of Retention.Retrieved that applies to some mailbox,
	// once, in ascending order. 0 stands for mailboxes whose mail never expires. Clients
	// that have not logged in can cause calls of it as often as they like: a store on
	// disk reads it once after each change of a domain or a mailbox, and answers from
	// memory until the next. The caller may change the list.
	Expiries(ctx context.Context) ([]time.Duration, error)

	// FirstDomain returns the first domain by name that has a mailbox, or ErrNotFound.
	// Clients that have not logged in can cause calls of it, as of Lookup and Expiries:
	// a store on disk should answer them from memory.
	FirstDomain(ctx context.Context) (name string, err error)

	Domain(ctx context.Context, name string) (Domain, error)
	Domains(ctx context.Context) ([]Domain, error)
	// Mailboxes lists a domain's mailboxes by address; "" lists all.
	Mailboxes(ctx context.Context, domain string) ([]Mailbox, error)
	// Aliases lists a domain's aliases by address; "" lists all.
	Aliases(ctx context.Context, domain string) ([]Alias, error)
}

// Directory is a [Reader] with the changes that the command line makes. Each method
// that changes something is one transaction, and visible to a running server when it
// returns. All methods are safe for concurrent use.
type Directory interface {
	Reader

	// AddDomain adds a domain with the Name, Postmaster and Policy of d. Errors:
	// ErrExists; ErrNotFound if the postmaster is no mailbox here.
	AddDomain(ctx context.Context, d Domain) error
	// ChangeDomain calls change to edit the Postmaster and the Policy of a domain within
	// the transaction. change may be called twice. Errors: ErrNotFound if there is no
	// such domain, or the postmaster is no mailbox here.
	ChangeDomain(ctx context.Context, name string, change func(*Domain)) error
	// RemoveDomain removes an empty domain. Errors: ErrNotFound; ErrInUse while it has
	// mailboxes or aliases, or aliases of other domains have targets in it.
	RemoveDomain(ctx context.Context, name string) error

	// AddMailbox adds a mailbox with the Address, Switches, Hash and Policy of m.
	// Errors: ErrNotFound if the domain is not hosted; ErrExists if a mailbox or an
	// alias has the address.
	AddMailbox(ctx context.Context, m Mailbox) (mail.MailboxID, error)
	// ChangeMailbox calls change to edit the Switches, Hash and Policy of a mailbox
	// within the transaction. change may be called twice. The mail is kept. Errors:
	// ErrNotFound.
	ChangeMailbox(ctx context.Context, a mail.Address, change func(*Mailbox)) error
	// SetHash replaces a password hash if it is still old, so that a rehash at a login
	// never undoes a change of the password. It is no error if it is another.
	SetHash(ctx context.Context, id mail.MailboxID, old, hash string) error
	// RemoveMailbox removes a mailbox with all its mail, and returns the usage that was
	// removed. Errors: ErrNotFound; ErrInUse while it is the target of an alias, or set
	// as a domain's postmaster.
	RemoveMailbox(ctx context.Context, a mail.Address) (quota.Usage, error)

	// AddAlias adds targets to an alias, and the alias if there is none. Errors:
	// ErrNotFound if the domain is not hosted, or a target is neither a mailbox nor an
	// alias; ErrExists if a mailbox has the address; *OutgrownError if this alias, or
	// one that leads to it, could not be resolved any more.
	AddAlias(ctx context.Context, a Alias) error
	// RemoveAlias removes the targets named from an alias. It removes the alias if no
	// target is named or none is left. Errors: ErrNotFound; ErrInUse while it is the
	// target of another alias.
	RemoveAlias(ctx context.Context, a Alias) error
}
