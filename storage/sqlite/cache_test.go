package sqlite

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
	"mailsrv/quota"
	"mailsrv/storage"
	"mailsrv/storage/sqlite/tables"
)

var lookAddress = mail.Address{Local: "look", Domain: "me.com"}

// warm makes the store cache look@me.com under a lease that has begun.
func (h *house) warm() {
	h.t.Helper()
	h.wait("the mailbox to be cached", func() bool {
		_, err := h.Lookup(background, lookAddress)
		h.must(err)
		return h.cache.mailbox(lookAddress) != nil
	})
}

// What a command changes counts in a running server once the command has ended,
// though the server had looked a moment before.
func TestCacheOfAServerBesideCommands(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	h.must(h.deliver("m", "xxx"))
	line := func(change func(*house)) {
		t.Helper()
		other := &house{t: t, dir: h.dir, look: h.look}
		other.open(Options{})
		h.warm()
		change(other)
		h.must(other.Close())
	}
	lookup := func() *directory.Mailbox {
		t.Helper()
		match, err := h.Lookup(background, lookAddress)
		h.must(err)
		return match.Mailbox
	}
	for round := range 5 {
		switches := directory.Switches(round % 2 * int(directory.AllOn))
		line(func(o *house) {
			h.must(o.ChangeMailbox(background, lookAddress, func(m *directory.Mailbox) { m.Switches = switches }))
		})
		if got := lookup(); got.Switches != switches {
			t.Fatalf("round %d: switches are %b", round, got.Switches)
		}
	}
	line(func(o *house) {
		d, e := o.entries()
		_, err := d.Update(background, nil, storage.Change{Expunge: storage.UIDs(e)})
		h.must(err)
	})
	if got := lookup(); got.Usage != (quota.Usage{}) {
		t.Errorf("usage after a purge is %v", got.Usage)
	}
	line(func(o *house) {
		_, err := o.RemoveMailbox(background, lookAddress)
		h.must(err)
		o.look, err = o.AddMailbox(background, directory.Mailbox{Address: lookAddress, Switches: directory.AllOn})
		h.must(err)
	})
	if got := lookup(); got.ID == h.look {
		t.Error("a mailbox that was made anew is still the old one")
	}
	line(func(o *house) {
		_, err := o.RemoveMailbox(background, lookAddress)
		h.must(err)
	})
	if got := lookup(); got != nil {
		t.Errorf("a removed mailbox is still there: %v", got)
	}
}

// What the server itself changes counts as soon as it is answered.
func TestCacheAfterOwnChanges(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	want := func(what string, holds func(*directory.Mailbox) bool) {
		t.Helper()
		match, err := h.Lookup(background, lookAddress)
		h.must(err)
		if !holds(match.Mailbox) {
			t.Errorf("%s: %+v", what, match.Mailbox)
		}
	}
	h.warm()
	h.must(h.deliver("a", "xxx"))
	h.must(h.deliver("b", "xx"))
	want("delivered", func(m *directory.Mailbox) bool { return m.Usage == quota.Usage{Octets: 5, Messages: 2} })
	d, e := h.entries()
	if len(e) != 2 {
		t.Fatalf("%d messages in the snapshot", len(e))
	}
	h.warm()
	_, err := d.Update(background, nil, storage.Change{Expunge: storage.UIDs(e[:1])})
	h.must(err)
	want("expunged", func(m *directory.Mailbox) bool { return m.Usage == quota.Usage{Octets: 2, Messages: 1} })
	h.warm()
	h.must(h.SetHash(background, h.look, "", "hash"))
	want("a password", func(m *directory.Mailbox) bool { return m.Hash == "hash" })
	h.warm()
	h.must(h.ChangeDomain(background, "me.com", func(d *directory.Domain) { d.Limit.Octets = 7 }))
	want("a domain's limit", func(m *directory.Mailbox) bool { return m.Effective.Limit.Octets == 7 })
}

// Cached counters equal the rows, whatever happens at once.
func TestCachedCounters(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	var boxes []mail.Address
	for i := range 5 {
		a := mail.Address{Local: fmt.Sprintf("u%d", i), Domain: "me.com"}
		_, err := h.AddMailbox(background, directory.Mailbox{Address: a, Switches: directory.AllOn})
		h.must(err)
		boxes = append(boxes, a)
	}
	for round := range 5 {
		var group sync.WaitGroup
		for w := range 8 {
			group.Go(func() {
				for n := range 20 {
					match, err := h.Lookup(background, boxes[rand.IntN(len(boxes))])
					if err != nil {
						t.Error(err)
						return
					}
					to := &house{Store: h.Store, t: t, look: match.Mailbox.ID}
					if rand.IntN(4) > 0 {
						if err := to.deliver(fmt.Sprintf("m%d-%d-%d", round, w, n), "xxx"); err != nil {
							t.Error(err)
						}
						continue
					}
					d, e := to.entries()
					if _, err := d.Update(background, nil, storage.Change{Expunge: storage.UIDs(e[:min(len(e), 2)])}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		group.Wait()
		for _, a := range boxes {
			match, err := h.Lookup(background, a)
			h.must(err)
			m := match.Mailbox
			octets := h.count("SELECT coalesce(sum(octets), 0) FROM message WHERE folder = (SELECT inbox FROM mailbox WHERE id = ?)", int64(m.ID))
			messages := h.count("SELECT count(*) FROM message WHERE folder = (SELECT inbox FROM mailbox WHERE id = ?)", int64(m.ID))
			if (m.Usage != quota.Usage{Octets: octets, Messages: messages}) {
				t.Errorf("%s: %v, and the rows say %d octets, %d messages", a, m.Usage, octets, messages)
			}
			d, err := h.OpenMaildrop(background, m.ID)
			h.must(err)
			entries, err := storage.AllEntries(background, d)
			h.must(err)
			if int64(len(entries)) != messages {
				t.Errorf("%s: a snapshot of %d messages, of %d", a, len(entries), messages)
			}
		}
	}
}

// What was read before a commit is not cached after it.
func TestCachedTooLate(t *testing.T) {
	r := newCache()
	r.ask = func() {}
	r.Renew(time.Now().Add(time.Hour), 1)
	m := &directory.Mailbox{ID: 1, Address: lookAddress}
	before := r.now()
	r.count()
	if r.put(m, tables.Counters{}, before); r.mailbox(lookAddress) != nil {
		t.Error("a row from before a commit is cached")
	}
	if r.put(m, tables.Counters{}, r.now()); r.mailbox(lookAddress) == nil {
		t.Error("nothing is cached")
	}
	before = r.now()
	r.Renew(time.Now().Add(time.Hour), 2)
	if r.mailbox(lookAddress) != nil {
		t.Error("another process has committed, and the mailbox is still cached")
	}
	if r.put(m, tables.Counters{}, before); r.mailbox(lookAddress) != nil {
		t.Error("a row from before another process's commit is cached")
	}
}

func TestCacheIsBounded(t *testing.T) {
	r := newCache()
	r.ask = func() {}
	for i := range maxCached + 100 {
		a := mail.Address{Local: fmt.Sprint(i), Domain: "me.com"}
		r.put(&directory.Mailbox{ID: mail.MailboxID(i + 1), Address: a}, tables.Counters{}, r.now())
	}
	if len(r.byID) != maxCached || len(r.byAddress) != maxCached {
		t.Errorf("%d mailboxes and %d addresses are cached", len(r.byID), len(r.byAddress))
	}
}

// What strangers can ask as often as they like is answered from memory, and true at once
// after a change: of this process, and of another once that has ended.
func TestAnswersFromMemory(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	alias := mail.Address{Local: "alias", Domain: "me.com"}
	postmaster := mail.Address{Local: "postmaster", Domain: "host.example"}
	ask := func(what string, targets int, first string, keep time.Duration) {
		t.Helper()
		match, err := h.Lookup(background, alias)
		h.must(err)
		if (match.Alias != nil) != (targets > 0) || match.Alias != nil && len(match.Alias.Targets) != targets {
			t.Errorf("%s: %+v has not %d targets", what, match, targets)
		}
		if match, err = h.Lookup(background, postmaster); err != nil || match.Hosted {
			t.Errorf("%s: %+v, %v", what, match, err)
		}
		if name, err := h.FirstDomain(background); err != nil || name != first {
			t.Errorf("%s: the first domain is %q, %v", what, name, err)
		}
		if keeps, err := h.Expiries(background); err != nil || keeps[len(keeps)-1] != keep {
			t.Errorf("%s: expiries %v, %v", what, keeps, err)
		}
	}
	fromMemory := func() bool {
		ask("before", 0, "me.com", 0)
		_, one := h.cache.other(alias)
		_, two := h.cache.other(postmaster)
		_, three := h.cache.answer(firstDomain)
		_, four := h.cache.answer(whichExpiries)
		return one && two && three && four
	}
	h.wait("all to be answered from memory", fromMemory)
	h.must(h.deliver("m", "xxx")) // which changes nothing of it
	h.wait("all to be answered from memory", fromMemory)

	h.must(h.AddAlias(background, directory.Alias{Address: alias, Targets: []mail.Address{lookAddress}}))
	h.must(h.ChangeDomain(background, "me.com", func(d *directory.Domain) { d.Retention.Retrieved = 24 * time.Hour }))
	ask("after our changes", 1, "me.com", 24*time.Hour)

	line := &house{t: t, dir: h.dir}
	line.open(Options{})
	ask("with a command beside it", 1, "me.com", 24*time.Hour)
	h.must(line.RemoveAlias(background, directory.Alias{Address: alias}))
	h.must(line.AddDomain(background, directory.Domain{Name: "a.example"}))
	_, err := line.AddMailbox(background, directory.Mailbox{Address: mail.Address{Local: "a", Domain: "a.example"}})
	h.must(err)
	h.must(line.ChangeDomain(background, "me.com", func(d *directory.Domain) { d.Retention.Retrieved = 48 * time.Hour }))
	h.must(line.Close())
	ask("after a command", 0, "a.example", 48*time.Hour)
}

func TestOtherAddressesAreBounded(t *testing.T) {
	r := newCache()
	for i := range maxOthers + 100 {
		r.putOther(mail.Address{Local: fmt.Sprint(i), Domain: "me.com"}, directory.Match{}, r.edited())
	}
	if len(r.others) != maxOthers {
		t.Errorf("%d addresses are cached", len(r.others))
	}
}
