package memory

import (
	"context"

	"mailsrv/internal/mail"
	"mailsrv/storage"
)

// Call is one call of a method, before anything is done for it.
type Call struct {
	Method    string         // of Store, Body, Maildrop or Message, by its name there
	Mailbox   mail.MailboxID // whose it is; zero where the call does not say
	Address   mail.Address   // that Lookup asks for
	Entry     storage.Entry  // of Message and Next
	At        int64          // Next: the octets returned before
	Retrieved []storage.UID  // of Update
}

// Fault hears of each call, may wait, panic, or return the error that is then the
// call's. It must be safe for concurrent use. The store's mutex is not held: it may
// call the store.
type Fault func(ctx context.Context, c Call) error

// before lets the test's fault happen, and ends what nobody waits for any more.
func (s *Store) before(ctx context.Context, c Call) error {
	if s.options.Fault != nil {
		if err := s.options.Fault(ctx, c); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// use runs f under the lock, unless the call is to fail.
func (s *Store) use(ctx context.Context, c Call, f func() error) error {
	if err := s.before(ctx, c); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return f()
}
