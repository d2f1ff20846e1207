package memory

import (
	"context"
	"fmt"
	"sync"
	"time"

	"mailsrv/internal/buffers"
	"mailsrv/internal/mail"
	"mailsrv/quota"
	"mailsrv/storage"
)

// Options of a store. The zero Options are those of most tests.
type Options struct {
	// Buffers lends the memory for messages under way; nil makes a pool of 16 MiB.
	Buffers *buffers.Pool
	// MaxStaged bounds what unfinished transfers hold beyond their buffers, in octets;
	// 0 is no limit.
	MaxStaged int64
	// Limit is the server's, for mailboxes that inherit. It bounds what is kept aside.
	Limit quota.Limit
	// MaxAside bounds what all mailboxes keep aside, in octets; 0 is no limit.
	MaxAside int64
	// Piece is the most octets that Message.Next returns at a time; 0 is no limit.
	Piece int
	// Fault makes calls fail; nil lets all be.
	Fault Fault
}

// Store is a store in memory: all that storagetest.Backend asks for. All methods are safe for concurrent use.
type Store struct {
	options Options
	buffers *buffers.Pool
	claims  storage.LocalClaims

	mu           sync.Mutex
	domains      map[string]*domain
	mailboxes    map[mail.Address]*mailbox
	byID         map[mail.MailboxID]*mailbox
	aliases      map[mail.Address][]mail.Address // targets by domain and local part
	lastMailbox  mail.MailboxID
	lastFolder   storage.FolderID
	lastValidity int64
	lastAside    int64
	staged       int64 // octets of unfinished transfers
	bodies       int   // not discarded
	messages     int   // not closed
}

// New returns an empty store.
func New(o Options) *Store {
	s := &Store{
		options:   o,
		buffers:   o.Buffers,
		domains:   map[string]*domain{},
		mailboxes: map[mail.Address]*mailbox{},
		byID:      map[mail.MailboxID]*mailbox{},
		aliases:   map[mail.Address][]mail.Address{},
		// No folder has the id of its mailbox: who takes one for the other is found.
		lastFolder: 1000,
	}
	if s.buffers == nil {
		s.buffers = buffers.NewPool(16<<20, 30*time.Second)
	}
	return s
}

// Close says what is still in use: nothing may be. The store keeps what it holds, and
// may be used again.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bodies+s.messages > 0 {
		return fmt.Errorf("%d bodies were not discarded, %d messages not closed", s.bodies, s.messages)
	}
	return nil
}

// Reading is how many messages are open.
func (s *Store) Reading() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.messages
}

// Waiting is how many sessions wait for a maildrop.
func (s *Store) Waiting() int { return s.claims.Waiting() }

// Accepting implements storage.Deliverer: memory is never full by itself.
func (s *Store) Accepting() error {
	return s.before(context.Background(), Call{Method: "Accepting"})
}

// Claim implements storage.Claims.
func (s *Store) Claim(ctx context.Context, id mail.MailboxID, c storage.Claimant) (storage.Claim, error) {
	if s.options.Fault != nil {
		if err := s.options.Fault(ctx, Call{Method: "Claim", Mailbox: id}); err != nil {
			return nil, err
		}
	}
	return s.claims.Claim(ctx, id, c)
}
