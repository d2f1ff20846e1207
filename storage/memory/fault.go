package memory

import (
	"context"

	"mailsrv/internal/mail"
	"mailsrv/storage"
)

// Call describes one call of a method of the store, a body, a maildrop or a message.
// Fields that the method does not use are zero.
type Call struct {
	Method    string         // its name, such as "Deliver"
	Mailbox   mail.MailboxID // where the call names one by its id, or is on a maildrop
	Address   mail.Address   // of Lookup
	Entry     storage.Entry  // of Message and Next
	At        int64          // of Next: offset of the next octet in the message
	Retrieved []storage.UID  // of Update
}

// Fault is called before each call does anything. It may wait or panic. If it returns an
// error, the call returns that and does nothing. It must be safe for concurrent use. It
// may call the store, whose mutex is not held.
type Fault func(ctx context.Context, c Call) error

// before calls the fault, and returns its error or that of the context.
func (s *Store) before(ctx context.Context, c Call) error {
	if s.options.Fault != nil {
		if err := s.options.Fault(ctx, c); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// use calls f with s.mu held, unless before returns an error.
func (s *Store) use(ctx context.Context, c Call, f func() error) error {
	if err := s.before(ctx, c); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return f()
}
