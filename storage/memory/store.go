package memory

import (
	"context"
	"fmt"
	"sync"
	"time"

	"mailsrv/internal/buffers"
	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
	"mailsrv/storage"
)

var (
	_ storage.Store       = (*Store)(nil)
	_ storage.Checker     = (*Store)(nil)
	_ directory.Directory = (*Store)(nil)
)

// Options of a store. The zero Options are those of most tests.
type Options struct {
	// Buffers lends the memory for messages under way; nil makes a pool of 16 MiB.
	Buffers *buffers.Pool
	// MaxStaged bounds what unfinished transfers hold beyond their buffers, in octets;
	// 0 is no limit.
	MaxStaged int64
	// Piece is the most octets that Message.Next returns at a time; 0 is no limit.
	Piece int
	// Fault makes calls fail; nil lets all be.
	Fault Fault
}

// Store is a store in memory. All methods may be called at once.
type Store struct {
	options Options
	buffers *buffers.Pool

	mu           sync.Mutex
	domains      map[string]*domain
	mailboxes    map[mail.Address]*mailbox
	byID         map[mail.MailboxID]*mailbox
	aliases      map[mail.Address][]mail.Address // targets by domain and local part
	lastMailbox  mail.MailboxID
	lastFolder   storage.FolderID
	lastValidity int64
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

// Space implements storage.Store: memory is never full by itself.
func (s *Store) Space() error { return s.before(context.Background(), Call{Method: "Space"}) }
