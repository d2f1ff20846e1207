package smtpd

import (
	"context"
	"io"

	"mailsrv/internal/mail"
)

// Delivery takes messages into maildrops; package delivery does. Its methods are
// safe for concurrent use. Errors that are *refusal.Refusal are told to the client,
// any other is a temporary failure.
type Delivery interface {
	// Begin opens a transaction for one message. size is what the client declares,
	// in octets; 0: nothing. It holds nothing that would have to be given back.
	Begin(client mail.Client, reversePath mail.Address, size int64) Transaction
	// Postmaster is the address that <postmaster> without a domain stands for.
	Postmaster(ctx context.Context) (mail.Address, error)
}

// Transaction is one mail transaction, used by one goroutine.
type Transaction interface {
	// ID is the message's id.
	ID() string
	// ReversePath is who sent it; the zero Address for a notification.
	ReversePath() mail.Address
	// Mailboxes lists where it goes, for the log.
	Mailboxes() string
	// Maildrops is to how many it goes.
	Maildrops() int
	// AddRecipient accepts a forward-path or says why not.
	AddRecipient(ctx context.Context, path mail.Address) error
	// Deliver reads the content to its end and commits it to every recipient, or
	// to none. It returns the octets of the message in the first maildrop. What
	// content returns as an error comes back wrapped.
	Deliver(ctx context.Context, content io.Reader) (octets int64, err error)
}

// Through makes a Delivery of an agent whose transactions are of a type of its own.
func Through[T Transaction](agent interface {
	Begin(client mail.Client, reversePath mail.Address, size int64) T
	Postmaster(ctx context.Context) (mail.Address, error)
}) Delivery {
	return through[T]{agent, agent.Begin}
}

type through[T Transaction] struct {
	postmaster interface {
		Postmaster(ctx context.Context) (mail.Address, error)
	}
	begin func(client mail.Client, reversePath mail.Address, size int64) T
}

func (t through[T]) Begin(client mail.Client, reversePath mail.Address, size int64) Transaction {
	return t.begin(client, reversePath, size)
}

func (t through[T]) Postmaster(ctx context.Context) (mail.Address, error) {
	return t.postmaster.Postmaster(ctx)
}
