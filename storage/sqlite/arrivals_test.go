package sqlite

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
)

// uidls lists h.look's messages in their order.
func (h *house) uidls() (all []string) {
	h.t.Helper()
	_, entries := h.entries()
	for i, e := range entries {
		if i > 0 && e.Sequence <= entries[i-1].Sequence {
			h.t.Errorf("sequence %d after %d", e.Sequence, entries[i-1].Sequence)
		}
		all = append(all, e.UIDL)
	}
	return all
}

func (h *house) arrivals() int64 { return h.count("SELECT count(*) FROM arrival") }

func TestArrivals(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	other, err := h.AddMailbox(background, directory.Mailbox{Address: mail.Address{Local: "other", Domain: "me.com"}, Enabled: true, Limit: inherit})
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

	// Deleting settles what arrived in that maildrop.
	drop, entries := h.entries()
	_, err = drop.Update(background, entries[1:2], nil)
	h.must(err)
	if n := h.arrivals(); n != 4 {
		t.Errorf("%d arrivals after a deletion in one maildrop", n)
	}
	deliver(look, "m4")
	if got := h.uidls(); !slices.Equal(got, []string{"m0", "m2", "m3", "m4"}) {
		t.Errorf("settled and arrived: %q", got)
	}
	for uidl, err := range h.readAll() {
		if err.Error() != "EOF" {
			t.Errorf("%s: %v", uidl, err)
		}
	}

	// A session may read what it listed before it was settled.
	drop, entries = h.entries()
	h.writer.tidy(0)
	h.wait("all is settled at a rest", func() bool { return h.arrivals() == 0 })
	for _, e := range entries {
		m, err := drop.Message(background, e)
		if err != nil {
			t.Fatalf("%s: %v", e.UIDL, err)
		}
		m.Close()
	}
	if got := h.uidls(); !slices.Equal(got, []string{"m0", "m2", "m3", "m4"}) {
		t.Errorf("settled: %q", got)
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

// Without any rest arrivals are settled beside the deliveries, and a listing
// meanwhile misses none and shows none twice.
func TestArrivalsAreSettledUnderLoad(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	boxes := []mail.MailboxID{h.look}
	for i := range 199 {
		id, err := h.AddMailbox(background, directory.Mailbox{Address: mail.Address{Local: fmt.Sprint("box", i), Domain: "me.com"}, Enabled: true, Limit: inherit})
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
	settled := int64(0)
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
			entries, err := drop.Entries(background)
			h.must(err)
			if int64(len(entries)) != want {
				t.Fatalf("%d entries of %d", len(entries), want)
			}
			for i, e := range entries {
				if e.Sequence != int64(i+1) {
					t.Fatalf("message %d has sequence %d", i+1, e.Sequence)
				}
			}
		}
		if n := h.arrivals(); n > maxArrivals+maxBatchArrivals {
			t.Fatalf("%d arrivals", n)
		}
		settled = max(settled, h.count("SELECT count(*) FROM entry"))
	}
	if settled < sliceSettle {
		t.Errorf("%d were settled", settled)
	}
	if found, _ := h.findings(false); len(found) > 0 {
		t.Errorf("findings: %q", found)
	}
}

// A repair that finds no room to settle leaves the counters as they are.
func TestRepairWithoutRoomToSettle(t *testing.T) {
	h := newHouse(t, Options{})
	const messages = 1500
	for i := range messages {
		h.must(h.deliver(fmt.Sprint("m", i), "text"))
	}
	h.must(h.Close())
	h.open(Options{Exclusive: true})
	c := h.writer.conn
	pages, err := c.number("SELECT page_count FROM pragma_page_count")
	h.must(err)
	h.must(c.script(fmt.Sprintf("PRAGMA max_page_count = %d", pages)))
	if _, err := h.Check(background, true, func(string) {}); err == nil {
		t.Error("the repair settled without room")
	}
	if n := h.count("SELECT messages FROM maildrop WHERE id = ?", int64(h.look)); n != messages {
		t.Errorf("%d messages are counted", n)
	}
}
