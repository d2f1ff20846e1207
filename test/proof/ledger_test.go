package proof

import (
	"fmt"
	"slices"
	"sync"
	"testing"
)

// messageState is what the ledger knows of a message.
type messageState int

const (
	unfinished messageState = iota // its last octets were never sent: it must not be there
	open                           // complete, but no answer has come: in every maildrop, or in none
	accepted                       // answered with 250, or found to be there: in every maildrop, once
	refused                        // answered with a refusal: nowhere
	absent                         // found not to be there: nowhere, for good
)

func (s messageState) String() string {
	return [...]string{"unfinished", "open", "accepted", "refused", "absent"}[s]
}

// ledger records what peers of the server may rely on: which messages and deletions it
// has acknowledged. Its methods are safe for concurrent use.
type ledger struct {
	t *testing.T

	mu       sync.Mutex
	boxes    map[string]*box // by local part
	messages map[string]*message
	open     []*message // whose answer has not come; settled after the next restart
	total    totals
}

// figures are those so far.
func (l *ledger) figures() totals {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

// totals are the figures of a run.
type totals struct {
	accepted   int // messages with a 250
	copies     int // of them, in all maildrops together
	late       int // stored, but the 250 was lost
	refused    int
	deleted    int // messages whose deletion was answered with +OK
	lateGone   int // deleted, but the +OK was lost
	kept       int // marked, and not deleted by a QUIT whose answer was lost
	duplicates int
	fetched    int // messages read and compared
}

// box is one maildrop.
type box struct {
	name    string
	held    map[string]string // UIDL to token of all messages that were ever in it
	gone    map[string]bool   // UIDLs whose deletion is certain
	listed  map[string]bool   // UIDLs, at the last audit
	pending []*deletion       // whose answer has not come; settled after the next restart
	removed bool              // the mailbox was removed, or a removal was tried
}

// deletion is the messages that one session has marked.
type deletion struct {
	box   *box
	uidls []string
}

func newLedger(t *testing.T, boxes ...string) *ledger {
	l := &ledger{t: t, boxes: map[string]*box{}, messages: map[string]*message{}}
	for _, name := range boxes {
		l.addBox(name)
	}
	return l
}

func (l *ledger) addBox(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.boxes[name] = &box{name: name, held: map[string]string{}, gone: map[string]bool{}}
}

// forget stops checking a maildrop, since its mailbox is being removed.
func (l *ledger) forget(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.boxes[name].removed = true
}

// begin is called before any octet of a message is sent.
func (l *ledger) begin(m *message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.messages[m.token] = m
}

// complete is called before the last octets of a message are sent.
func (l *ledger) complete(m *message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m.state = open
	l.open = append(l.open, m)
}

// accept records a 250.
func (l *ledger) accept(m *message, id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m.id != "" && m.id != id {
		l.t.Errorf("message %s was accepted as %s and is stored as %s", m.token, id, m.id)
	}
	l.total.accepted++
	l.total.copies += len(m.to)
	l.hold(m, id)
}

// hold records that a message is in all its maildrops.
func (l *ledger) hold(m *message, id string) {
	m.state, m.id = accepted, id
	for _, name := range m.to {
		l.boxes[name].held[id] = m.token
	}
}

// refuse records a refusal.
func (l *ledger) refuse(m *message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m.id != "" {
		l.t.Errorf("message %s was refused and is stored as %s", m.token, m.id)
	}
	m.state = refused
	l.total.refused++
}

// saw compares a message read from a maildrop with what was sent, and returns what is
// wrong with it.
func (l *ledger) saw(local, uidl string, stored []byte) error {
	token, digest, trace, err := recognise(stored)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total.fetched++
	b, m := l.boxes[local], l.messages[token]
	switch {
	case m == nil:
		return fmt.Errorf("message %s was never sent", token)
	case m.digest != digest:
		return fmt.Errorf("message %s is not as it was sent", token)
	case !slices.Contains(m.to, local):
		return fmt.Errorf("message %s was for %v", token, m.to)
	case m.state != open && m.state != accepted:
		return fmt.Errorf("message %s is %v", token, m.state)
	case m.id != "" && m.id != uidl:
		l.total.duplicates++
		return fmt.Errorf("message %s is there twice, as %s too", token, m.id)
	case b.held[uidl] != "" && b.held[uidl] != token:
		return fmt.Errorf("message %s has the UIDL that message %s had", token, b.held[uidl])
	}
	m.id = uidl
	b.held[uidl] = token
	return m.traced(trace, local)
}

// mark begins a session's deletion.
func (l *ledger) mark(local string) *deletion {
	l.mu.Lock()
	defer l.mu.Unlock()
	return &deletion{box: l.boxes[local]}
}

// quit is called before QUIT is sent: from now on the marks may be gone.
func (l *ledger) quit(d *deletion) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d.box.pending = append(d.box.pending, d)
}

// deleted records the +OK to QUIT.
func (l *ledger) deleted(d *deletion) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total.deleted += len(d.uidls)
	l.settle(d, true)
}

// spared records that QUIT was refused: nothing was deleted.
func (l *ledger) spared(d *deletion) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settle(d, false)
}

func (l *ledger) settle(d *deletion, done bool) {
	d.box.pending = slices.DeleteFunc(d.box.pending, func(p *deletion) bool { return p == d })
	for _, uidl := range d.uidls {
		if done {
			d.box.gone[uidl] = true
		}
	}
}

// moved reports whether messages were accepted and deleted: else a run has proved nothing.
func (l *ledger) moved() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total.accepted > 0 && l.total.deleted > 0
}

// live returns the maildrops that must be as the ledger says.
func (l *ledger) live() []*box {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []*box
	for _, b := range l.boxes {
		if !b.removed {
			all = append(all, b)
		}
	}
	return all
}

// messageCopy is a message in one maildrop.
type messageCopy struct{ local, uidl string }

// certain returns the copies of which it is known whether they must be there.
func (l *ledger) certain() map[messageCopy]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := map[messageCopy]bool{}
	for _, b := range l.boxes {
		if b.removed {
			continue
		}
		for uidl := range b.held {
			known[messageCopy{b.name, uidl}] = !b.gone[uidl]
		}
		for _, d := range b.pending {
			for _, uidl := range d.uidls {
				delete(known, messageCopy{b.name, uidl})
			}
		}
	}
	return known
}

// expected reports whether a UIDL must be listed.
func (b *box) expected(uidl string) bool { return b.held[uidl] != "" && !b.gone[uidl] }
