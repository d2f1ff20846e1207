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

// commitDeadline bounds all attempts to commit one message. A sender waits at least ten
// minutes for the reply to its final dot (RFC 5321 section 4.5.3.2.6).
const commitDeadline = 2 * time.Minute

// Settings may be replaced while the agent works ([Agent.SetSettings]). A transaction
// keeps those it began with.
type Settings struct {
	Limit             quota.Limit // the server's, which mailboxes and domains inherit
	Defer             bool        // refuse mail for a full maildrop with 4xx, not 5xx
	RejectBareNewline bool        // refuse a bare CR or LF in content; else it is normalised
	MaxMessageSize    int64       // octets as sent; 0: no limit
}

// Options of an [Agent]. All but Checks, MaxStaged and Settings are required.
type Options struct {
	Store     storage.Deliverer
	Directory directory.Reader
	Hostname  string       // in Received fields
	Logger    *slog.Logger // gets full maildrops, and targets of aliases left out
	Checks    []Check      // in the order in which they are called; may be empty
	MaxStaged int64        // octets that the store may stage, see [buffers.Total]; 0: no limit
	Settings  Settings
}

// Agent delivers mail into the maildrops of one store. All methods are safe for
// concurrent use.
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

	checkOctets int64 // sum of the checks' MostOctets
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

// SetSettings replaces the settings for transactions that begin later.
func (a *Agent) SetSettings(s Settings) {
	a.settings.Store(&s)
	if a.staging != nil {
		a.staging.SetMost(s.MaxMessageSize)
	}
}

// Postmaster returns the address that <postmaster> without a domain stands for
// (RFC 5321 section 4.5.1). Its domain is the host's own name or the nearest parent of
// that which is hosted, else the first domain by name that has a mailbox. Errors:
// *refusal.Refusal if there is none, or an unexpected one.
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
	first, err := a.directory.FirstDomain(ctx)
	switch {
	case errors.Is(err, directory.ErrNotFound):
		return mail.Address{}, refusal.New(refusal.NoMailbox, "no domain with a mailbox is hosted yet")
	case err != nil:
		return mail.Address{}, err
	}
	return mail.Address{Local: "postmaster", Domain: first}, nil
}
