package load

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"sync"
	"sync/atomic"
)

// Book knows the mailboxes of one server, and which messages were accepted for them and
// not fetched yet. All methods are safe for concurrent use.
type Book struct {
	run       string
	mailboxes []Mailbox
	number    atomic.Uint64
	turn      atomic.Uint64

	mu  sync.Mutex
	due map[uint64]int // deliveries of an accepted message not fetched yet
}

// Mailbox is an address and its password.
type Mailbox struct {
	Address  string
	Password string
}

// NewBook returns the book of a server with these mailboxes, all empty.
func NewBook(mailboxes []Mailbox) *Book {
	run := make([]byte, runLength/2)
	rand.Read(run)
	return &Book{run: hex.EncodeToString(run), mailboxes: mailboxes, due: map[uint64]int{}}
}

// Mailboxes returns the number of mailboxes.
func (b *Book) Mailboxes() int { return len(b.mailboxes) }

// Everywhere spreads messages over all mailboxes.
const Everywhere = -1

// issue makes the token of the next message to a number of recipients. The first is the
// mailbox with this number, or for Everywhere a mailbox chosen so that all get equally
// many messages.
func (b *Book) issue(mailbox, recipients int) token {
	n := b.number.Add(1)
	t := token{run: b.run, number: n, first: mailbox, recipients: recipients}
	if mailbox == Everywhere {
		t.first = int(n * 7919 % uint64(len(b.mailboxes)))
	}
	return t
}

// takeTurn returns the index of the next mailbox, round robin.
func (b *Book) takeTurn() int {
	return int((b.turn.Add(1) - 1) % uint64(len(b.mailboxes)))
}

// accepted records messages that the server accepted.
func (b *Book) accepted(tokens []token) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range tokens {
		b.due[t.number] += t.recipients
	}
}

// belongs returns an error unless a message with token t belongs into a mailbox.
func (b *Book) belongs(t token, mailbox int) error {
	switch {
	case t.run != b.run:
		return fmt.Errorf("message %d of another run or server", t.number)
	case !t.leadsTo(mailbox, len(b.mailboxes)):
		return fmt.Errorf("message %d is in the maildrop of %s", t.number, b.mailboxes[mailbox].Address)
	}
	return nil
}

// settle records messages that were fetched and removed. A message that was stored twice
// makes its count negative.
func (b *Book) settle(tokens []token) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range tokens {
		if b.due[t.number]--; b.due[t.number] == 0 {
			delete(b.due, t.number)
		}
	}
}

// Unsettled returns how many deliveries were accepted and not fetched (missing), and how
// many were fetched that were not accepted, or more than once (surplus).
func (b *Book) Unsettled() (missing, surplus int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, n := range b.due {
		missing += max(n, 0)
		surplus += max(-n, 0)
	}
	return missing, surplus
}

// Forget clears what was accepted, if the server discards mail or it is not going to be
// fetched.
func (b *Book) Forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.due)
}
