package smtpd

import (
	"context"
	"io"

	"mailsrv/internal/mail"
)

// Delivery delivers messages into maildrops; package delivery implements it. All methods
// are safe for concurrent use. An error that is a *[refusal.Refusal] is told to the
// client; any other is a temporary failure.
type Delivery interface {
	// Begin opens a transaction for one message. size is the octets that the client
	// declares; 0: none declared. A transaction holds no resource and need not be closed.
	Begin(client mail.Client, reversePath mail.Address, size int64) Transaction
	// Postmaster returns the address that <postmaster> without a domain stands for.
	Postmaster(ctx context.Context) (mail.Address, error)
}

// Transaction is one mail transaction. It is not safe for concurrent use.
type Transaction interface {
	// ID returns the message's id.
	ID() string
	// ReversePath returns the reverse-path; the zero Address is <>.
	ReversePath() mail.Address
	// Mailboxes returns the mailboxes that get the message, as text for the log.
	Mailboxes() string
	// Maildrops returns the number of maildrops that get the message.
	Maildrops() int
	// AddRecipient accepts a forward-path, or returns why not.
	AddRecipient(ctx context.Context, path mail.Address) error
	// Deliver reads the content to its end and commits it to every recipient, or
	// to none. It returns the octets of the message in the first maildrop. An error
	// of content comes back wrapped.
	Deliver(ctx context.Context, content io.Reader) (octets int64, err error)
}

// Through returns a [Delivery] for an agent whose Begin returns a type of its own.
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
