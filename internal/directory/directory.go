// Package directory is who receives mail here: domains, mailboxes, aliases,
// and how a forward-path resolves to maildrops. The backends that keep them live
// below storage; this package holds what they promise, and the rules that need no
// database.
//
// Domains and addresses are compared in folded form (see mail.Address.Fold):
// the backend stores and looks up that form alone. A mailbox and an alias
// never share an address.
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
	Postmaster mail.Address // zero: the domain's first mailbox serves
	Policy                  // its own, which its mailboxes inherit
	Effective  Policy       // Policy, with what the server sets filled in where the reader knows it
	Created    time.Time
}

// Mailbox is an address that has a login, a limit and a maildrop.
type Mailbox struct {
	ID       mail.MailboxID
	Address  mail.Address
	Switches Switches
	Hash     string // of the password, in modular crypt format
	Policy          // its own
	// Effective is Policy with the domain's filled in; a limit that is left to
	// inherit comes from the server's configuration.
	Effective Policy
	Usage     quota.Usage
	Created   time.Time
}

// Alias is an address that stands for others. Local "" is the domain's
// catch-all, written "@me.com".
type Alias struct {
	Address mail.Address
	Targets []mail.Address // of hosted domains, folded, without repeats
}

// Match is what a domain holds under one address. At most one of Mailbox and
// Alias is set.
type Match struct {
	Hosted  bool // the domain is ours
	Mailbox *Mailbox
	Alias   *Alias
}

// Errors of the directory. Their texts say what is wrong, not what to do: the
// command line adds that.
var (
	ErrNotFound = errors.New("not found")
	ErrExists   = errors.New("exists already")
	ErrInUse    = errors.New("still in use")
)

// Reader is what resolving, logging in and listing need. All methods are
// safe for concurrent use, and see every change committed before the call.
type Reader interface {
	// Lookup returns what stands under exactly this folded address. An empty
	// local part asks for the catch-all. Nothing there is no error.
	Lookup(ctx context.Context, a mail.Address) (Match, error)

	// Postmaster returns the mailbox that serves postmaster and abuse of a
	// domain: the one set, else the domain's oldest. ErrNotFound if the domain
	// has no mailbox.
	Postmaster(ctx context.Context, domain string) (Mailbox, error)

	// Expiries returns the different values of Retention.Retrieved that count for
	// some mailbox, 0 among them where one never expires, in ascending order. Strangers
	// ask for it, as often as they like: what it takes much to read is read once after
	// each change of a domain or a mailbox, however many ask meanwhile, and answered
	// from memory until the next. It counts for as long as a cached Lookup would. The
	// caller may keep the list and change it.
	Expiries(ctx context.Context) ([]time.Duration, error)

	Domain(ctx context.Context, name string) (Domain, error)
	Domains(ctx context.Context) ([]Domain, error)
	// Mailboxes lists a domain's mailboxes by address; "" lists all.
	Mailboxes(ctx context.Context, domain string) ([]Mailbox, error)
	// Aliases lists a domain's aliases by address; "" lists all.
	Aliases(ctx context.Context, domain string) ([]Alias, error)
}

// Directory adds what the command line changes. Each method is one
// transaction, visible to a running server at once.
type Directory interface {
	Reader

	// AddDomain: ErrExists; ErrNotFound for a postmaster that is no mailbox here.
	AddDomain(ctx context.Context, d Domain) error
	// ChangeDomain lets change edit the postmaster and the policy of a
	// domain as they stand at that moment; it may be called twice. ErrNotFound for the
	// domain, or for a postmaster that is no mailbox here.
	ChangeDomain(ctx context.Context, name string, change func(*Domain)) error
	// RemoveDomain: ErrNotFound; ErrInUse while it has mailboxes or aliases, or
	// aliases of other domains name it.
	RemoveDomain(ctx context.Context, name string) error

	// AddMailbox takes Address, Switches, Hash and Policy: ErrNotFound for its
	// domain, ErrExists for a mailbox or alias of the address.
	AddMailbox(ctx context.Context, m Mailbox) (mail.MailboxID, error)
	// ChangeMailbox lets change edit Switches, Hash and Policy of a
	// mailbox as they stand at that moment; it may be called twice. The maildrop stays.
	// ErrNotFound.
	ChangeMailbox(ctx context.Context, a mail.Address, change func(*Mailbox)) error
	// SetHash replaces one password hash if it still is old, so that a rehash
	// at login never undoes a change of the password. No error if it is not.
	SetHash(ctx context.Context, id mail.MailboxID, old, hash string) error
	// RemoveMailbox removes a mailbox and all its mail, and returns what was
	// removed: ErrNotFound; ErrInUse while an alias names it, or while it
	// serves as a domain's postmaster by being set so.
	RemoveMailbox(ctx context.Context, a mail.Address) (quota.Usage, error)

	// AddAlias adds targets to an alias, made if need be: ErrNotFound for the
	// domain or for a target that is neither mailbox nor alias, ErrExists for
	// a mailbox of the address.
	AddAlias(ctx context.Context, a Alias) error
	// RemoveAlias removes the targets named, or the alias with none named or
	// none left: ErrNotFound; ErrInUse while another alias names it.
	RemoveAlias(ctx context.Context, a Alias) error
}
