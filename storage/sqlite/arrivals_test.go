package sqlite

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
	"mailsrv/quota"
	"mailsrv/storage"
	"mailsrv/storage/sqlite/commit"
	"mailsrv/storage/sqlite/db"
	"mailsrv/storage/sqlite/tables"
)

// uidls lists h.look's messages in their order.
func (h *house) uidls() (all []string) {
	h.t.Helper()
	_, entries := h.entries()
	for i, e := range entries {
		if i > 0 && e.UID <= entries[i-1].UID {
			h.t.Errorf("uid %d after %d", e.UID, entries[i-1].UID)
		}
		all = append(all, e.UIDL)
	}
	return all
}

func (h *house) arrivals() int64 { return h.count("SELECT count(*) FROM arrival") }

func TestArrivals(t *testing.T) {
	h := newHouse(t, Options{}) // nothing is compacted at a rest
	other, err := h.AddMailbox(background, directory.Mailbox{Address: mail.Address{Local: "other", Domain: "me.com"}, Switches: directory.AllOn})
	h.must(err)
	look := h.look
	deliver := func(to mail.MailboxID, id string) {
		h.look = to
		h.must(h.deliver(id, "text"))
		h.look = look
	}
	for i := range 4 {
		deliver(look, fmt.Sprint("m", i))
		deliver(other, fmt.Sprint("o", i))
	}
	if n := h.arrivals(); n != 8 {
		t.Errorf("%d arrivals", n)
	}
	if got := h.uidls(); !slices.Equal(got, []string{"m0", "m1", "m2", "m3"}) {
		t.Errorf("as they arrived: %q", got)
	}

	// Deleting compacts what arrived in that maildrop.
	drop, entries := h.entries()
	_, err = drop.Update(background, nil, storage.Change{Expunge: storage.UIDs(entries[1:2])})
	h.must(err)
	if n := h.arrivals(); n != 4 {
		t.Errorf("%d arrivals after a deletion in one maildrop", n)
	}
	deliver(look, "m4")
	if got := h.uidls(); !slices.Equal(got, []string{"m0", "m2", "m3", "m4"}) {
		t.Errorf("compacted and arrived: %q", got)
	}
	for uidl, err := range h.readAll() {
		if err.Error() != "EOF" {
			t.Errorf("%s: %v", uidl, err)
		}
	}

	// A session may read what it listed before it was compacted.
	h.must(h.Close())
	h.open(Options{Server: true})
	drop, entries = h.entries()
	h.upkeep.addGarbage(quota.Usage{})
	h.wait("all is compacted at a rest", func() bool { return h.arrivals() == 0 })
	for _, e := range entries {
		m, err := drop.Message(background, e, 0)
		if err != nil {
			t.Fatalf("%s: %v", e.UIDL, err)
		}
		m.Close()
	}
	if got := h.uidls(); !slices.Equal(got, []string{"m0", "m2", "m3", "m4"}) {
		t.Errorf("compacted: %q", got)
	}

	// A removed mailbox takes along what arrived in it.
	deliver(other, "o4")
	_, err = h.RemoveMailbox(background, mail.Address{Local: "other", Domain: "me.com"})
	h.must(err)
	h.wait("its bodies are gone", func() bool { return h.count("SELECT count(*) FROM body") == 4 })
	if found, _ := h.findings(false); len(found) > 0 {
		t.Errorf("findings: %q", found)
	}
}

// Without any rest arrivals are compacted beside the deliveries, and a listing
// meanwhile misses none and shows none twice.
func TestArrivalsAreCompactedUnderLoad(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	boxes := []mail.MailboxID{h.look}
	for i := range 199 {
		id, err := h.AddMailbox(background, directory.Mailbox{Address: mail.Address{Local: fmt.Sprint("box", i), Domain: "me.com"}, Switches: directory.AllOn})
		h.must(err)
		boxes = append(boxes, id)
	}
	const senders, each = 8, 20 // messages to all of them
	var sending sync.WaitGroup
	for s := range senders {
		sending.Go(func() {
			for i := range each {
				if err := h.benchDeliver(fmt.Sprintf("%d-%d", s, i), []byte("text\r\n"), boxes...); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { sending.Wait(); close(done) }()
	compacted := int64(0)
	for end := false; !end; {
		select {
		case <-done:
			end = true
		default:
		}
		for _, id := range boxes {
			drop, err := h.OpenMaildrop(background, id)
			h.must(err)
			want := drop.Usage().Messages
			entries, err := storage.AllEntries(background, drop)
			h.must(err)
			if int64(len(entries)) != want {
				t.Fatalf("%d entries of %d", len(entries), want)
			}
			for i, e := range entries {
				if e.UID != storage.UID(i+1) {
					t.Fatalf("message %d has uid %d", i+1, e.UID)
				}
			}
		}
		if n := h.arrivals(); n > maxArrivals+maxArrivals {
			t.Fatalf("%d arrivals", n)
		}
		compacted = max(compacted, h.count("SELECT count(*) FROM entry"))
	}
	if compacted < sliceCompact {
		t.Errorf("%d were compacted", compacted)
	}
	if found, _ := h.findings(false); len(found) > 0 {
		t.Errorf("findings: %q", found)
	}
}

// Many arrivals do not wait for the server's look: sessions that delete would each look
// through all of them.
func TestManyArrivalsAreCompactedAtARest(t *testing.T) {
	h := newHouse(t, Options{Server: true, lookEvery: time.Hour})
	h.wait("the first look to end", func() bool { return h.engine.Stats().Idle })
	for i := range manyArrivals + 1 {
		h.must(h.deliver(fmt.Sprint("m", i), "text"))
	}
	h.wait("all to be compacted", func() bool { return h.arrivals() == 0 })
}

// What waits is known while it is compacted between deliveries: else compaction would go
// on when there is nothing left.
func TestArrivalsAreCounted(t *testing.T) {
	h := newHouse(t, Options{Server: true, lookEvery: time.Hour})
	boxes := []mail.MailboxID{h.look}
	for i := range 99 {
		id, err := h.AddMailbox(background, directory.Mailbox{Address: mail.Address{Local: fmt.Sprint("box", i), Domain: "me.com"}, Switches: directory.AllOn})
		h.must(err)
		boxes = append(boxes, id)
	}
	for i := range maxArrivals/len(boxes) + 1 { // the last brings more than may wait
		h.must(h.benchDeliver(fmt.Sprint("m", i), []byte("text\r\n"), boxes...))
	}
	h.wait("some to be compacted", func() bool { return h.arrivals() <= maxArrivals })
	h.must(h.Close())
	counted := h.upkeep.arrived
	h.open(Options{})
	if n := h.arrivals(); n != counted {
		t.Errorf("%d arrivals, counted as %d", n, counted)
	}
}

// Arrivals that cannot be compacted, or that the command line has compacted, keep nobody
// busy.
func TestNothingToCompact(t *testing.T) {
	h := newHouse(t, Options{Server: true, lookEvery: time.Hour})
	comesToRest := func(when string) {
		t.Helper()
		looks, commits := 0, int64(0)
		h.wait(when+": rest", func() bool {
			before := commits
			if commits = h.engine.Stats().Commits; commits != before {
				looks = 0
			}
			looks++
			return looks > 2*int(commit.RestBefore/time.Millisecond)
		})
	}
	comesToRest("at first")
	h.upkeep.compact.Met(db.ErrRow)
	for i := range manyArrivals + 2 {
		h.must(h.deliver(fmt.Sprint("m", i), "text"))
	}
	comesToRest("not to be compacted")

	h.must(h.Close())
	h.open(Options{Server: true, lookEvery: time.Hour}) // where compaction is not stopped
	comesToRest("compacted")
	for i := range manyArrivals {
		h.must(h.deliver(fmt.Sprint("n", i), "text"))
	}
	line := &house{t: t, dir: h.dir, look: h.look}
	line.open(Options{})
	drop, entries := line.entries()
	_, err := drop.Update(background, nil, storage.Change{Expunge: storage.UIDs(entries[:1])})
	h.must(err)
	h.must(line.Close())
	h.must(h.deliver("o", "text"))
	h.wait("it to be compacted", func() bool { return h.arrivals() == 0 })
	comesToRest("compacted by the command line")
}

// A maildrop with very many arrivals is compacted piece by piece, and listed whole in
// between.
func TestCompactionIsCutWithinAMaildrop(t *testing.T) {
	h := newHouse(t, Options{})
	var want []string
	for i := range 30 {
		want = append(want, fmt.Sprint("m", i))
		h.must(h.deliver(want[i], "text"))
	}
	for behind, round := int64(0), 1; round <= 3; round++ {
		h.must(h.change(background, func(c *db.Conn) (err error) {
			var moved int64
			if moved, behind, err = tables.Compact(c, behind, 10); moved != 10 {
				t.Errorf("%d compacted", moved)
			}
			return err
		}))
		if got := h.uidls(); !slices.Equal(got, want) {
			t.Errorf("after round %d: %q", round, got)
		}
		if n := h.arrivals(); n != int64(30-10*round) {
			t.Errorf("after round %d: %d arrivals", round, n)
		}
	}
}

// A batch that is rolled back has compacted nothing, and the round does not go on
// behind what it did not compact.
func TestRolledBackCompaction(t *testing.T) {
	h := newHouse(t, Options{})
	h.must(h.deliver("m", "text"))
	u := h.upkeep
	var done func()
	h.must(h.change(background, func(c *db.Conn) (err error) {
		moved := int64(0)
		if done, moved, err = u.compactSlice(c, 0); err != nil || moved != 1 {
			t.Errorf("%d were compacted, %v", moved, err)
		}
		if u.compacted != 0 {
			t.Errorf("the round is at %d before the commit", u.compacted)
		}
		return nil
	}))
	if done(); u.compacted == 0 {
		t.Error("the round is where it was after the commit")
	}
}

// Where a damaged counter made a folder give its uids once more, what came
// since is mail: a repair gives it others.
func TestUIDGivenTwice(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	for i := range 3 {
		h.must(h.deliver(fmt.Sprint("m", i), "text"))
	}
	h.tamper("UPDATE tally SET last = last - 2")
	for i := range 2 {
		h.must(h.deliver(fmt.Sprint("n", i), "text"))
	}
	if found, n := h.findings(false); n != 2 || !strings.Contains(found[0], "maildrop look@me.com gave uid 2 twice") {
		t.Errorf("check finds %q", found)
	}
	drop, entries := h.entries()
	if _, err := drop.Update(background, nil, storage.Change{Expunge: storage.UIDs(entries[:1])}); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("a deletion: %v", err)
	}
	h.must(h.Close())
	h.open(Options{Exclusive: true})
	if found, n := h.findings(true); n != 0 {
		t.Errorf("the repair leaves %d of %q", n, found)
	}
	h.must(h.deliver("o", "text"))
	got := h.uidls()
	slices.Sort(got)
	if !slices.Equal(got, []string{"m0", "m1", "m2", "n0", "n1", "o"}) {
		t.Errorf("%q", got)
	}
}

// A mailbox whose counters were lost with a page does not send mail back.
func TestLostCountersDefer(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	h.tamper("DELETE FROM tally")
	var misfit *storage.MisfitError
	if err := h.deliver("m", "text"); !errors.Is(err, storage.ErrCorrupt) || errors.As(err, &misfit) {
		t.Errorf("got %v", err)
	}
}

// A repair that finds no room to compact leaves the counters as they are.
func TestRepairWithoutRoomToCompact(t *testing.T) {
	h := newHouse(t, Options{})
	const messages = 1500
	for i := range messages {
		h.must(h.deliver(fmt.Sprint("m", i), "text"))
	}
	h.must(h.Close())
	h.open(Options{Exclusive: true})
	h.must(h.change(background, func(c *db.Conn) error {
		pages, err := c.Number("SELECT page_count FROM pragma_page_count")
		if err != nil {
			return err
		}
		return c.Script(fmt.Sprintf("PRAGMA max_page_count = %d", pages))
	}))
	if _, err := h.Check(background, true, func(storage.Finding) {}); err == nil {
		t.Error("the repair compacted without room")
	}
	if n := h.count("SELECT messages FROM tally"); n != messages {
		t.Errorf("%d messages are counted", n)
	}
}
