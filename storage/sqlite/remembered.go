package sqlite

import (
	"sync"
	"time"

	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
)

const (
	// maxRemembered bounds the mailboxes remembered; each takes some 500 octets.
	maxRemembered = 20_000
	// lease is how long what is remembered counts after the committer has made
	// sure that no other process has changed the database. Whoever changes it
	// from another process outwaits that before saying that it is done.
	lease = 10 * time.Millisecond
)

// remembered keeps mailboxes as they were looked up, with their counters of
// after the last commit: a busy server reads the database for none of its
// recipients and logins. Only what is there is remembered; aliases, and
// addresses under which nothing stands, are asked for each time.
//
// Changes of this process pass through the committer, which tells of them after
// the commit and before anybody hears of it. Those of other processes show in
// SQLite's data_version, which it reads with each batch, and when asked.
type remembered struct {
	ask func() // for a look at data_version

	mu        sync.Mutex
	byAddress map[mail.Address]*known
	byID      map[int64]*known
	moment    uint64 // grows with each change of what is remembered
	until     time.Time
	version   int64
}

// known is a mailbox, whose Usage is that of counters.
type known struct {
	mailbox directory.Mailbox
	counters
}

func newRemembered(ask func()) *remembered {
	r := &remembered{ask: ask}
	r.forget()
	return r
}

// mailbox returns what stands under an address, or nil if it must be read.
func (r *remembered) mailbox(a mail.Address) *directory.Mailbox {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.byAddress[a]
	if k == nil || !r.valid() {
		return nil
	}
	m := k.mailbox
	m.Usage = k.usage
	return &m
}

// maildrop returns a mailbox's counters, if they need not be read.
func (r *remembered) maildrop(id int64) (c counters, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.byID[id]
	if k == nil || !r.valid() {
		return counters{}, false
	}
	return k.counters, true
}

// valid reports whether the lease lasts, and asks for another.
func (r *remembered) valid() bool {
	if time.Now().Before(r.until) {
		return true
	}
	r.ask()
	return false
}

// now is the moment to name when what is read from here on is put.
func (r *remembered) now() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.moment
}

// put remembers a mailbox that was read since moment, unless something has
// changed meanwhile.
func (r *remembered) put(m *directory.Mailbox, now counters, moment uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.moment != moment {
		return
	}
	if len(r.byID) >= maxRemembered {
		for id, k := range r.byID { // any one
			delete(r.byID, id)
			delete(r.byAddress, k.mailbox.Address)
			break
		}
	}
	k := &known{mailbox: *m, counters: now}
	r.byAddress[m.Address] = k
	r.byID[int64(m.ID)] = k
}

// committed takes in what a commit has changed: the counters of some maildrops.
func (r *remembered) committed(changed []counters) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.moment++
	for _, c := range changed {
		if k := r.byID[c.mailbox]; k != nil {
			k.counters = c
		}
	}
}

// forget drops everything: anything may have changed.
func (r *remembered) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop()
}

func (r *remembered) drop() {
	r.moment++
	r.byAddress, r.byID = map[mail.Address]*known{}, map[int64]*known{}
}

// renew begins a lease at a time since which the data_version of the committer's
// connection was read. Another version says that another process has committed.
func (r *remembered) renew(since time.Time, version int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if version != r.version {
		r.drop()
		r.version = version
	}
	r.until = since.Add(lease)
}

// expire ends the lease: the connection that the version was read from is gone.
func (r *remembered) expire() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop()
	r.until, r.version = time.Time{}, -1
}
