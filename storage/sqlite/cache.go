package sqlite

import (
	"sync"
	"time"

	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
	"mailsrv/storage/sqlite/tables"
)

const (
	// maxCached is the most mailboxes in the cache. Each takes some 500 octets.
	maxCached = 20_000
	// maxOthers is the most other addresses in the cache. Strangers choose these.
	maxOthers = 2_000
	// lease is how long the cache is valid after the engine has seen that no other
	// process has changed the database. Another process that changes the database waits
	// for longer than that before it reports that it is done.
	lease = 10 * time.Millisecond
)

// cache keeps mailboxes as they were looked up, with their counters after the last commit.
// So a busy server needs no read of the database for most recipients and logins. It also
// keeps what other addresses stand for (aliases or nothing), and the answers to questions
// about the whole directory, which a stranger can cause as often as he likes. All methods
// are safe for concurrent use.
//
// The engine reports changes of this process after the commit and before their callers get
// the outcome. Changes of other processes show in SQLite's data_version, which the engine
// reads with each batch and when asked.
type cache struct {
	ask     func()        // asks the engine to read data_version; set before use
	reading chan struct{} // has a value while somebody reads the answer to a question

	mu        sync.Mutex
	byAddress map[mail.Address]*known
	byID      map[int64]*known
	others    map[mail.Address]directory.Match // addresses that are no mailbox's
	answers   map[question]any
	moment    uint64    // grows with each change of what is cached
	edits     uint64    // grows with each change of the directory
	until     time.Time // end of the lease
	version   int64     // data_version at its begin; -1: unknown
}

// question is a question about the whole directory.
type question int

// The questions, with the types of their answers.
const (
	whichExpiries question = iota // []time.Duration
	firstDomain                   // string; "": there is none
)

// known is a mailbox with its counters. Its Usage is that of the counters.
type known struct {
	mailbox directory.Mailbox
	tables.Counters
}

func newCache() *cache {
	c := &cache{reading: make(chan struct{}, 1)}
	c.Forget()
	return c
}

// mailbox returns the mailbox of an address, or nil if the database must be asked.
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

// maildrop returns a mailbox's counters; not ok if the database must be asked.
func (c *cache) maildrop(id int64) (now tables.Counters, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.byID[id]
	if k == nil || !c.valid() {
		return tables.Counters{}, false
	}
	return k.Counters, true
}

// other returns what an address that is no mailbox's stands for; not ok if the database must
// be asked.
func (c *cache) other(a mail.Address) (directory.Match, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, ok := c.others[a]
	return m, ok && c.valid()
}

// putOther caches what an address stands for. edits is what edited returned before that was
// read: if there were edits since, nothing is cached.
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

// answer returns the answer to a question; not ok if the database must be asked. The answer
// must not be changed.
func (c *cache) answer(q question) (any, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a, ok := c.answers[q]
	return a, ok && c.valid()
}

// knows reports whether the answer to a question is cached, even if the lease is over.
func (c *cache) knows(q question) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.answers[q]
	return ok
}

// putAnswer caches an answer. edits is as for putOther.
func (c *cache) putAnswer(q question, answer any, edits uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.edits == edits {
		c.answers[q] = answer
	}
}

// edited returns the number of edits so far, for putOther and putAnswer of what is read after
// this call.
func (c *cache) edited() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.edits
}

// valid reports whether the lease lasts, and asks for a new one if not.
func (c *cache) valid() bool {
	if time.Now().Before(c.until) {
		return true
	}
	c.ask()
	return false
}

// now returns the current moment, for put of what is read after this call.
func (c *cache) now() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.moment
}

// put caches a mailbox that was read after moment, unless anything has changed since.
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

// count updates the cached counters of mailboxes that a commit has changed.
func (c *cache) count(changed ...tables.Counters) {
	c.countAll(len(changed), func(i int) tables.Counters { return changed[i] })
}

// countAll is as count, for n counters.
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

// Forget implements commit.Cache. It drops everything.
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

// Renew implements commit.Cache. It begins a lease at since, and drops everything if version
// is not the last one: another process has committed then.
func (c *cache) Renew(since time.Time, version int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if version != c.version {
		c.drop()
		c.version = version
	}
	c.until = since.Add(lease)
}

// Expire implements commit.Cache. It drops everything and ends the lease: the connection
// that the version was read from is closed.
func (c *cache) Expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop()
	c.until, c.version = time.Time{}, -1
}
