// Package admin is what the command line can do to domains, mailboxes,
// aliases, quotas and maildrops. It prints nothing: it takes what a person
// typed, changes the directory and the store through their contracts, and
// answers with values, or with one sentence that says what to do next.
//
// Each change is durable and counts at once, also in a running server. What is
// asked first, to give better advice, may have changed by then: the directory
// itself decides, in one transaction.
package admin

import (
	"log/slog"
	"time"

	"mailsrv/internal/directory"
	"mailsrv/quota"
	"mailsrv/storage"
)

// Store is what commands need of a store: they open maildrops without a claim.
type Store interface {
	storage.Maildrops
	storage.Undeleter
	storage.Collector
	storage.Clock
}

// Admin carries out commands. All fields are required.
type Admin struct {
	Directory directory.Directory
	Store     Store
	Limit     quota.Limit  // the server's, for mailboxes that inherit
	Logger    *slog.Logger // hears of every change, and of every message removed
}

// Advice is an error in words for the person who typed the command: what is
// wrong and what to do. Err, which may be nil, is what was met.
type Advice struct {
	Text string
	Err  error
}

func (a *Advice) Error() string { return a.Text }
func (a *Advice) Unwrap() error { return a.Err }

// LimitChange is the parts of a limit to change; nil keeps one.
type LimitChange struct {
	Octets   *int64
	Messages *int64
}

func (c LimitChange) apply(l quota.Limit) quota.Limit {
	if c.Octets != nil {
		l.Octets = *c.Octets
	}
	if c.Messages != nil {
		l.Messages = *c.Messages
	}
	return l
}

// RetentionChange is the parts of a retention to change, in the values of
// directory.Retention; nil keeps one.
type RetentionChange struct {
	Retrieved *time.Duration
	Deleted   *time.Duration
}

func (c RetentionChange) apply(r directory.Retention) directory.Retention {
	if c.Retrieved != nil {
		r.Retrieved = *c.Retrieved
	}
	if c.Deleted != nil {
		r.Deleted = *c.Deleted
	}
	return r
}

// inherited is the limit of a new domain or mailbox.
