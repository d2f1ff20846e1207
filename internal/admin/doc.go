// Package admin is what the command line can do to domains, mailboxes,
// aliases, quotas and maildrops. It prints nothing. It takes what a person typed,
// changes the directory and the store through their contracts, and returns values, or
// an error that says what to do next ([Advice]).
//
// Each change is durable, and visible to a running server, when the method returns.
// Methods read the directory first to give better advice. The directory itself decides,
// in one transaction.
package admin

import (
	"log/slog"
	"time"

	"mailsrv/internal/directory"
	"mailsrv/quota"
	"mailsrv/storage"
)

// Store is what commands need of a store. They change maildrops without a claim.
type Store interface {
	storage.Maildrops
	storage.Undeleter
	storage.Collector
	storage.Clock
}

// Admin carries out commands. All fields are required. All methods are safe for
// concurrent use.
type Admin struct {
	Directory directory.Directory
	Store     Store
	Limit     quota.Limit  // the server's, for mailboxes that inherit
	Logger    *slog.Logger // gets every change, and every message removed
}

// Advice is an error whose text tells the person who typed the command what is wrong and
// what to do.
type Advice struct {
	Text string
	Err  error // the cause; may be nil
}

func (a *Advice) Error() string { return a.Text }
func (a *Advice) Unwrap() error { return a.Err }

// LimitChange is the parts of a [quota.Limit] to change. nil keeps a part.
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

// RetentionChange is the parts of a [directory.Retention] to change. nil keeps a part.
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
