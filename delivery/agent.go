package delivery

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"mailsrv/internal/buffers"
	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
	"mailsrv/internal/refusal"
	"mailsrv/quota"
	"mailsrv/storage"
)

// commitDeadline is how long a message may wait for its commit. A sender waits
// ten minutes for the reply to its final dot (RFC 5321 section 4.5.3.2.6).
const commitDeadline = 2 * time.Minute

// Settings may change while the agent works; they count for transactions to
// come.
type Settings struct {
	Limit             quota.Limit // the server's, where mailbox and domain set none
	Defer             bool        // a full maildrop answers "later" instead of "no"
	RejectBareNewline bool        // refuse what is otherwise normalised
	MaxMessageSize    int64       // octets as sent; 0: no limit
}

// Options of an agent. All but Checks, MaxStaged and Settings are needed.
type Options struct {
	Store     storage.Deliverer
	Directory directory.Reader
	Hostname  string       // in Received fields
	Logger    *slog.Logger // hears of maildrops that are full, and of targets left out
	Checks    []Check      // in the order in which they are asked; may be empty
	MaxStaged int64        // octets that the store may stage, see buffers.Total; 0: no limit
	Settings  Settings
}

// Agent delivers. All methods are safe for concurrent use.
type Agent struct {
	store     storage.Deliverer
	directory directory.Reader
	hostname  string
	settings  atomic.Pointer[Settings]
	logger    *slog.Logger
	misfits   shortage
	fullness  fullness
	checks    []Check
	staging   *buffers.Total
	now       func() time.Time
	newID     func() string

	checkOctets int64 // the most that all checks add to a message
}

// New returns an agent.
func New(o Options) *Agent {
	a := &Agent{
		store: o.Store, directory: o.Directory, hostname: o.Hostname, logger: o.Logger, fullness: fullness{logger: o.Logger},
		checks: o.Checks, staging: newStaging(o.MaxStaged, o.Settings.MaxMessageSize), now: time.Now, newID: mail.NewID,
	}
	for _, c := range o.Checks {
		a.checkOctets += c.MostOctets()
	}
	a.SetSettings(o.Settings)
	return a
}

// SetSettings replaces the settings.
func (a *Agent) SetSettings(s Settings) { a.settings.Store(&s) }

// Postmaster is the address that <postmaster> without a domain stands for
// (RFC 5321 section 4.5.1): of the host's own name if that is hosted, else of
// the nearest domain above it, else of the first domain by name that has a mailbox.
// *refusal.Refusal when there is none.
func (a *Agent) Postmaster(ctx context.Context) (mail.Address, error) {
	for name := a.hostname; name != ""; _, name, _ = strings.Cut(name, ".") {
		m, err := a.directory.Lookup(ctx, mail.Address{Local: "postmaster", Domain: name})
		if err != nil {
			return mail.Address{}, err
		}
		if m.Hosted {
			return mail.Address{Local: "postmaster", Domain: name}, nil
		}
	}
	domains, err := a.directory.Domains(ctx)
	if err != nil {
		return mail.Address{}, err
	}
	for _, d := range domains {
		switch _, err := a.directory.Postmaster(ctx, d.Name); {
		case err == nil:
			return mail.Address{Local: "postmaster", Domain: d.Name}, nil
		case !errors.Is(err, directory.ErrNotFound):
			return mail.Address{}, err
		}
	}
	return mail.Address{}, refusal.New(refusal.NoMailbox, "no domain with a mailbox is hosted yet")
}

// Begin opens a transaction for one message. It holds nothing that would have
// to be given back.
func (a *Agent) Begin(client mail.Client, reversePath mail.Address, size int64) *Transaction {
	return &Transaction{
		agent:    a,
		settings: *a.settings.Load(),
		envelope: mail.Envelope{
			ID: a.newID(), ReversePath: reversePath, Client: client, Size: size, Received: a.now(),
		},
	}
}
