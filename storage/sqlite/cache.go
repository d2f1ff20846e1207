package sqlite

import (
	"sync"
	"time"

	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
	"mailsrv/storage/sqlite/tables"
)

const (
	// maxCached bounds the mailboxes in the cache; each takes some 500 octets.
	maxCached = 20_000
	// maxOthers bounds the other addresses in it, which strangers choose.
	maxOthers = 2_000
	// lease is how long the cache counts after the engine has made
	// sure that no other process has changed the database. Whoever changes it
	// from another process outwaits that before saying that it is done.
	lease = 10 * time.Millisecond
)

// cache keeps mailboxes as they were looked up, with their counters of
// after the last commit: a busy server reads the database for none of its
// recipients and logins. Beside them it keeps what stands under other addresses, aliases
// or nothing, and the answers to questions about the whole directory, which a stranger
// can ask as often as he likes.
//
// Changes of this process pass through the engine, which tells of them after
// the commit and before anybody hears of it. Those of other processes show in
// SQLite's data_version, which it reads with each batch, and when asked.
type cache struct {
	ask     func()        // for a look at data_version; set before use
	reading chan struct{} // holds one who reads the answer to a question

	mu        sync.Mutex
	byAddress map[mail.Address]*known
	byID      map[int64]*known
	others    map[mail.Address]directory.Match // without a mailbox
	answers   map[question]any
	moment    uint64 // grows with each change of what is cached
	edits     uint64 // grows with each change of the directory
	until     time.Time
	version   int64
}

// question is one about the whole directory.
type question int

// The questions, with the types of their answers.
const (
	whichExpiries question = iota // []time.Duration
	firstDomain                   // string; "": there is none
)

// known is a mailbox, whose Usage is that of counters.
type known struct {
	mailbox directory.Mailbox
	tables.Counters
}

func newCache() *cache {
	c := &cache{reading: make(chan struct{}, 1)}
	c.Forget()
	return c
}

// mailbox returns what stands under an address, or nil if it must be read.
func (c *cache) mailbox(a mail.Address) *directory.Mailbox {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.byAddress[a]
	if k == nil || !c.valid() {
		return nil
	}
	m := k.mailbox
	m.Usage = k.Usage
	return &m
}

// maildrop returns a mailbox's counters, if they need not be read.
func (c *cache) maildrop(id int64) (now tables.Counters, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.byID[id]
	if k == nil || !c.valid() {
		return tables.Counters{}, false
	}
	return k.Counters, true
}

// other returns what stands under an address that is no mailbox's, if it need not be read.
func (c *cache) other(a mail.Address) (directory.Match, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, ok := c.others[a]
	return m, ok && c.valid()
}

// putOther caches what stands under an address, read since the edits were so many.
func (c *cache) putOther(a mail.Address, m directory.Match, edits uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.edits != edits {
		return
	}
	if len(c.others) >= maxOthers {
		for any := range c.others {
			delete(c.others, any)
			break
		}
	}
	c.others[a] = m
}

// answer returns the answer to a question, if it need not be read. Nobody may change it.
func (c *cache) answer(q question) (any, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a, ok := c.answers[q]
	return a, ok && c.valid()
}

// knows reports whether there is an answer, which may have no lease.
func (c *cache) knows(q question) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.answers[q]
	return ok
}

// putAnswer caches an answer, read since the edits were so many.
func (c *cache) putAnswer(q question, answer any, edits uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.edits == edits {
		c.answers[q] = answer
	}
}

// edited is the number of edits to name when what is read from here on is put.
func (c *cache) edited() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.edits
}

// valid reports whether the lease lasts, and asks for another.
func (c *cache) valid() bool {
	if time.Now().Before(c.until) {
		return true
	}
	c.ask()
	return false
}

// now is the moment to name when what is read from here on is put.
func (c *cache) now() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.moment
}

// put caches a mailbox that was read since moment, unless something has
// changed meanwhile.
func (c *cache) put(m *directory.Mailbox, now tables.Counters, moment uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.moment != moment {
		return
	}
	if len(c.byID) >= maxCached {
		for id, k := range c.byID { // any one
			delete(c.byID, id)
			delete(c.byAddress, k.mailbox.Address)
			break
		}
	}
	k := &known{mailbox: *m, Counters: now}
	c.byAddress[m.Address] = k
	c.byID[int64(m.ID)] = k
}

// count takes in the counters of some maildrops that a commit has changed.
func (c *cache) count(changed ...tables.Counters) {
	c.countAll(len(changed), func(i int) tables.Counters { return changed[i] })
}

// countAll is count for n counters.
func (c *cache) countAll(n int, counters func(i int) tables.Counters) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.moment++
	for i := range n {
		now := counters(i)
		if k := c.byID[now.Mailbox]; k != nil {
			k.Counters = now
		}
	}
}

// Forget drops everything: anything may have changed.
func (c *cache) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop()
}

func (c *cache) drop() {
	c.moment++
	c.edits++
	c.byAddress, c.byID = map[mail.Address]*known{}, map[int64]*known{}
	c.others, c.answers = map[mail.Address]directory.Match{}, map[question]any{}
}

// Renew begins a lease at a time since which the data_version of the engine's
// connection was read. Another version says that another process has committed.
func (c *cache) Renew(since time.Time, version int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if version != c.version {
		c.drop()
		c.version = version
	}
	c.until = since.Add(lease)
}

// Expire ends the lease: the connection that the version was read from is gone.
func (c *cache) Expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop()
	c.until, c.version = time.Time{}, -1
}
