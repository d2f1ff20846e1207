package delivery

import (
	"fmt"
	"strings"
	"testing"

	"mailsrv/internal/directory"
	"mailsrv/quota"
	"mailsrv/storage"
)

// With ServeEach every recipient gets the message or its own answer. An alias with
// several targets is served as a whole or not at all.
func TestServeEach(t *testing.T) {
	const text = "\r\nlarge enough for the small one\r\n"
	w := newWorld(t, Settings{})
	for _, name := range []string{"ok", "full", "small", "gone", "off", "other"} {
		w.mailbox(name+"@me.com", quota.Inherit)
	}
	w.deliver("full@me.com", "\r\n")
	aliases := map[string]string{"both": "ok full", "spare": "other small", "three": "ok other off"}
	for name, targets := range aliases {
		alias := directory.Alias{Address: address(name + "@me.com")}
		for target := range strings.FieldsSeq(targets) {
			alias.Targets = append(alias.Targets, address(target+"@me.com"))
		}
		w.must(w.store.AddAlias(background, alias))
	}
	begin := func(to ...string) *Transaction {
		tr := w.begin(0)
		tr.ServeEach()
		for _, name := range to {
			w.must(tr.AddRecipient(background, address(name+"@me.com")))
		}
		return tr
	}
	change := func(name string, f func(*directory.Mailbox)) {
		w.must(w.store.ChangeMailbox(background, address(name+"@me.com"), f))
	}
	first := begin("both", "small", "gone", "ok", "spare", "three")
	none := begin("small", "off")
	// These changes are found by the commits.
	change("full", func(m *directory.Mailbox) { m.Limit.Messages = 1 })
	change("small", func(m *directory.Mailbox) { m.Limit.Octets = 10 })
	change("off", func(m *directory.Mailbox) { m.Switches = 0 })
	_, err := w.store.RemoveMailbox(background, address("gone@me.com"))
	w.must(err)

	check := func(tr *Transaction, unserved string, holds map[string]int64) {
		t.Helper()
		octets, err := tr.Deliver(background, strings.NewReader(text))
		w.must(err)
		var got []string
		for _, u := range tr.Unserved() {
			got = append(got, fmt.Sprintf("%s:%s", u.To.Local, u.Why.Reason.Name()))
		}
		if strings.Join(got, " ") != unserved {
			t.Errorf("unserved %v, want %s", got, unserved)
		}
		if stored := len(tr.boxes) > 0; stored != (octets > 0) {
			t.Errorf("%d octets in %d maildrops", octets, len(tr.boxes))
		}
		for name, n := range holds {
			if got := w.messages(name + "@me.com"); got != n {
				t.Errorf("%s holds %d messages, want %d", name, got, n)
			}
		}
	}
	check(first, "both:target-full small:too-large-for-mailbox gone:no-mailbox", map[string]int64{"ok": 1, "full": 1, "small": 0, "other": 1, "off": 0})
	check(none, "small:too-large-for-mailbox off:disabled", map[string]int64{"small": 0, "off": 0})
	// Delivered-To in ok's copy names the recipient that was served, not the alias.
	if !strings.Contains(w.first("ok@me.com"), "Delivered-To: ok@me.com\r\n") {
		t.Errorf("ok got %q", w.first("ok@me.com"))
	}
	if n := strings.Count(w.log.String(), `msg="left out"`); n != 2 {
		t.Errorf("%d left out, want 2: %s", n, w.log.String())
	}
}

// first returns the first message of a maildrop.
func (w *world) first(name string) string {
	w.Helper()
	m, err := w.store.Lookup(background, address(name))
	w.must(err)
	drop, err := w.store.OpenMaildrop(background, m.Mailbox.ID)
	w.must(err)
	entries, err := storage.AllEntries(background, drop)
	w.must(err)
	if len(entries) == 0 {
		w.Fatalf("%s holds nothing", name)
	}
	message, err := drop.Message(background, entries[0], 0)
	w.must(err)
	defer message.Close()
	var text strings.Builder
	for {
		piece, err := message.Next(background)
		if err != nil {
			return text.String()
		}
		text.Write(piece)
	}
}
