package load

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"sync"
	"sync/atomic"
)

// Book knows the mailboxes of one server and which messages are due in them.
// All methods are safe for concurrent use.
type Book struct {
	run       string
	mailboxes []Mailbox
	number    atomic.Uint64
	turn      atomic.Uint64

	mu  sync.Mutex
	due map[uint64]int // deliveries of an accepted message not fetched yet
}

// Mailbox is an address and what opens it.
type Mailbox struct {
	Address  string
	Password string
}

// NewBook returns the book of a server with these mailboxes and nothing in
// them.
func NewBook(mailboxes []Mailbox) *Book {
	run := make([]byte, runLength/2)
	rand.Read(run)
	return &Book{run: hex.EncodeToString(run), mailboxes: mailboxes, due: map[uint64]int{}}
}

// Mailboxes is how many there are.
func (b *Book) Mailboxes() int { return len(b.mailboxes) }

// Everywhere spreads messages over all mailboxes.
const Everywhere = -1

// issue makes the token of the next message, to one mailbox or to as many as
// recipients says. Of as many messages in a row as there are
// mailboxes each gets equally many.
func (b *Book) issue(mailbox, recipients int) token {
	n := b.number.Add(1)
	t := token{run: b.run, number: n, first: mailbox, recipients: recipients}
	if mailbox == Everywhere {
		t.first = int(n * 7919 % uint64(len(b.mailboxes)))
	}
	return t
}

// takeTurn returns the index of the next mailbox, going round.
func (b *Book) takeTurn() int {
	return int((b.turn.Add(1) - 1) % uint64(len(b.mailboxes)))
}

// accepted notes messages that the server took.
func (b *Book) accepted(tokens []token) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range tokens {
		b.due[t.number] += t.recipients
	}
}

// belongs says what is wrong with a message of t in a mailbox.
func (b *Book) belongs(t token, mailbox int) error {
	switch {
	case t.run != b.run:
		return fmt.Errorf("message %d of another run or server", t.number)
	case !t.leadsTo(mailbox, len(b.mailboxes)):
		return fmt.Errorf("message %d is in the maildrop of %s", t.number, b.mailboxes[mailbox].Address)
	}
	return nil
}

// settle notes messages that were fetched and removed. A message that was
// stored twice makes a count negative.
func (b *Book) settle(tokens []token) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range tokens {
		if b.due[t.number]--; b.due[t.number] == 0 {
			delete(b.due, t.number)
		}
	}
}

// Unsettled is how many deliveries were accepted and not fetched, and how many
// were fetched that had not been accepted, or more than once.
func (b *Book) Unsettled() (missing, surplus int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, n := range b.due {
		missing += max(n, 0)
		surplus += max(-n, 0)
	}
	return missing, surplus
}

// Forget lets what was accepted go: the server keeps nothing, or is not asked
// for it.
func (b *Book) Forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.due)
}
