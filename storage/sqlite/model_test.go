package sqlite

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
	"mailsrv/quota"
	"mailsrv/storage"
	"mailsrv/storage/sqlite/db"
	"mailsrv/storage/sqlite/tables"
)

// folder makes another folder of look@me.com.
func (h *house) folder(name string) (id storage.FolderID) {
	h.t.Helper()
	h.must(h.change(background, func(c *db.Conn) error {
		made, err := tables.NewFolder(c, int64(h.look), name)
		id = storage.FolderID(made)
		return err
	}))
	return id
}

// put delivers content into folders of look@me.com.
func (h *house) put(id, content string, folders ...storage.FolderID) error {
	h.t.Helper()
	b, err := h.NewBody(background, 0)
	h.must(err)
	defer b.Discard()
	_, err = b.Write([]byte(content))
	h.must(err)
	d := &storage.Delivery{ID: id, Body: b}
	for _, f := range folders {
		d.To = append(d.To, storage.Recipient{Mailbox: h.look, Folder: f})
	}
	_, err = h.Deliver(background, d)
	return err
}

// sound fails if check finds something.
func (h *house) sound(when string) {
	h.t.Helper()
	if found, _ := h.findings(false); len(found) > 0 {
		h.t.Errorf("%s: check finds %q", when, found)
	}
}

// The usage of a mailbox is over all folders, and so is its limit; POP3 shows INBOX.
func TestFoldersShareTheQuota(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	h.must(h.ChangeMailbox(background, lookAddress, func(m *directory.Mailbox) { m.Limit.Messages = 3 }))
	sent := h.folder("Sent")
	usage := func(all, inbox int64) {
		t.Helper()
		found, err := h.Lookup(background, lookAddress)
		h.must(err)
		d, entries := h.entries()
		if found.Mailbox.Usage.Messages != all || found.Mailbox.Usage.Octets != 4*all || d.Usage() != (quota.Usage{Octets: 4 * inbox, Messages: inbox}) || int64(len(entries)) != inbox {
			t.Fatalf("%+v in all folders, INBOX %+v in %d entries; want %d and %d", found.Mailbox.Usage, d.Usage(), len(entries), all, inbox)
		}
		h.sound("now")
	}
	h.must(h.put("m1", "text", sent))
	usage(1, 0)
	h.must(h.put("m2", "text", 0, sent)) // kept, and filed too
	usage(3, 1)
	for _, folder := range []storage.FolderID{0, sent} {
		if err := h.put("m3", "text", folder); err == nil {
			t.Error("above the limit")
		}
	}
	if err := h.put("m3", "text", 0, sent); err == nil {
		t.Error("above the limit")
	}
	usage(3, 1)
	if n := h.count("SELECT last FROM tally WHERE folder = ?", int64(sent)); n != 2 {
		t.Errorf("the folder has given uid %d", n)
	}
	// The way out of a folder.
	h.must(h.change(background, func(c *db.Conn) error {
		p, err := tables.PlaceOf(c, int64(h.look), int64(sent))
		if err == nil {
			_, err = tables.CompactFolder(c, p.Folder)
		}
		if err == nil {
			_, err = tables.Expunge(c, p, [][2]int64{{1, 1}}, tables.Aside{At: time.Now(), Keep: time.Hour})
		}
		return err
	}))
	usage(2, 1)
	if n := h.count("SELECT modseq FROM tally WHERE folder = ? AND expunged = modseq", int64(sent)); n != 4 {
		t.Errorf("modseq %d", n)
	}
	// What was deleted comes back into its folder, else into INBOX.
	restored, _, err := h.Undelete(background, h.look, time.Time{}, quota.Limit{}, mail.NewID)
	if h.must(err); restored.Messages != 1 {
		t.Errorf("restored %+v", restored)
	}
	usage(3, 1)
	h.must(h.change(background, func(c *db.Conn) error {
		if _, err := tables.CompactFolder(c, int64(sent)); err != nil {
			return err
		}
		p, err := tables.PlaceOf(c, int64(h.look), int64(sent))
		if err == nil {
			_, err = tables.Expunge(c, p, [][2]int64{{1, 9}}, tables.Aside{At: time.Now(), Keep: time.Hour})
		}
		if err == nil {
			err = c.Script(fmt.Sprintf("DELETE FROM tally WHERE folder = %d; DELETE FROM folder WHERE id = %d", sent, sent))
		}
		return err
	}))
	usage(1, 1)
	_, _, err = h.Undelete(background, h.look, time.Time{}, quota.Limit{}, mail.NewID)
	h.must(err)
	usage(3, 3)
}

// Whatever removes a message counts the folder's modseq, and says that it removed.
func TestEachRemovalIsCounted(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	for i := range 4 {
		h.must(h.deliver(fmt.Sprint("m", i), "text"))
	}
	last := int64(0)
	removed := func(how string) {
		t.Helper()
		modseq, expunged := h.count("SELECT modseq FROM tally"), h.count("SELECT expunged FROM tally")
		if modseq != expunged || expunged <= last {
			t.Errorf("%s: modseq %d, of the last removal %d; it was %d", how, modseq, expunged, last)
		}
		last = expunged
		h.sound(how)
	}
	d, entries := h.entries()
	_, err := d.Update(background, nil, storage.Change{Expunge: storage.UIDs(entries[:1])})
	h.must(err)
	removed("POP3")
	h.must(h.ChangeMailbox(background, lookAddress, func(m *directory.Mailbox) {
		m.Retention = directory.Retention{Retrieved: 24 * time.Hour, Deleted: 24 * time.Hour}
	}))
	_, err = d.Update(background, nil, storage.Change{Expunge: storage.UIDs(entries[1:2]), Retrieved: storage.UIDs(entries[2:3])})
	h.must(err)
	removed("POP3, to be undone")
	h.must(h.Collect(background, time.Now().Add(48*time.Hour), func(storage.Expired) {}))
	removed("expiry")
	h.must(h.Close())
	h.open(Options{Exclusive: true})
	h.tamper("DELETE FROM body WHERE id = 4")
	if found, n := h.findings(true); n != 0 || !strings.Contains(found[0], "message m3 in look@me.com: its body is missing") {
		t.Errorf("the repair: %q", found)
	}
	removed("a repair")
	if n := h.count("SELECT count(*) FROM message"); n != 0 {
		t.Errorf("%d are left", n)
	}
}

// A repair that changes what a message has of octets adds it anew: a uid stands for the
// same octets for ever.
func TestRepairAddsAnew(t *testing.T) {
	for _, shared := range []bool{false, true} {
		t.Run(fmt.Sprint("shared ", shared), func(t *testing.T) {
			h := newHouse(t, Options{Exclusive: true})
			to := []storage.FolderID{0}
			if shared {
				to = append(to, h.folder("x"))
			}
			for i := range 3 {
				h.must(h.put(fmt.Sprint("m", i), "text", to...))
			}
			h.tamper("UPDATE entry SET octets = 99 WHERE uid = 2 AND folder = 1001")
			found, n := h.findings(true)
			if n != 0 || len(found) != 1 || !strings.Contains(found[0], "message m1 in maildrop look@me.com, uid 2: its size is 99, its parts have 4") {
				t.Errorf("%d remain of %q", n, found)
			}
			drop, _ := h.entries()
			entries, err := drop.Details(background, 0, 10)
			h.must(err)
			var got []string
			for _, e := range entries {
				got = append(got, fmt.Sprint(e.UID, " ", e.UIDL, " ", e.Octets))
			}
			if want := "[1 m0 4 3 m2 4 4 m1 4]"; fmt.Sprint(got) != want {
				t.Errorf("%v, want %s", got, want)
			}
			for uidl, whole := range h.whole() {
				if !whole {
					t.Errorf("%s cannot be read", uidl)
				}
			}
			if entries[2].ModSeq <= entries[1].ModSeq || h.count("SELECT expunged FROM tally WHERE folder = 1001") <= int64(entries[1].ModSeq) {
				t.Errorf("modseqs of %+v", entries)
			}
			h.must(h.deliver("next", "text"))
			h.sound("after it")
		})
	}
}

// validity is that of look@me.com's INBOX.
func (h *house) validity() int64 {
	return h.count("SELECT validity FROM folder WHERE id = (SELECT inbox FROM mailbox WHERE id = ?)", int64(h.look))
}

// A validity is the time, or one more than the last: no two folders have the same, and
// none a lower one than an earlier of its name.
func TestValidity(t *testing.T) {
	before := time.Now().Unix()
	h := newHouse(t, Options{})
	first := h.validity()
	if first < before || first > time.Now().Unix()+1 {
		t.Errorf("%d at %d", first, before)
	}
	last := first
	for i := range 5 {
		id := h.folder(fmt.Sprint(i))
		if now := h.count("SELECT validity FROM folder WHERE id = ?", int64(id)); now <= last {
			t.Errorf("%d after %d", now, last)
		} else {
			last = now
		}
	}
	_, err := h.RemoveMailbox(background, lookAddress)
	h.must(err)
	h.look, err = h.AddMailbox(background, directory.Mailbox{Address: lookAddress})
	if h.must(err); h.validity() <= last {
		t.Errorf("the next of that name has %d after %d", h.validity(), last)
	}
}

// Where uids may be given again, the validity is raised: a client must not show what it
// has under them.
func TestLostUIDsRaiseTheValidity(t *testing.T) {
	for name, tamper := range map[string]string{
		"counters lost":       "DELETE FROM tally",
		"last uid too low":    "UPDATE tally SET last = 1",
		"folder's row lost":   "DELETE FROM folder",
		"nothing of uids":     "UPDATE tally SET octets = 0",
		"another store's row": "DELETE FROM store; DELETE FROM tally",
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, Options{Exclusive: true})
			for i := range 3 {
				h.must(h.deliver(fmt.Sprint("m", i), "text"))
			}
			before := h.validity()
			h.tamper(tamper)
			if found, n := h.findings(true); n != 0 || len(found) == 0 {
				t.Errorf("%d remain of %q", n, found)
			}
			if raised := h.validity() > before; raised == (name == "nothing of uids") {
				t.Errorf("%d after %d", h.validity(), before)
			}
			if left := len(h.whole()); left != 3 {
				t.Errorf("%d messages are left", left)
			}
		})
	}
}

// After a restore the uids of what came since the backup are given again.
func TestRestoreRaisesTheValidity(t *testing.T) {
	h := newHouse(t, Options{})
	h.must(h.deliver("m", "text"))
	h.folder("x")
	before := h.validity()
	file := filepath.Join(t.TempDir(), "b")
	h.must(h.Backup(background, file, quiet))
	r := &house{t: t, dir: filepath.Join(t.TempDir(), "data"), look: h.look}
	h.must(restore(t, r.dir, file))
	r.open(Options{})
	defer r.Close()
	if r.validity() <= before || r.count("SELECT count(DISTINCT validity) FROM folder") != 2 {
		t.Errorf("%d after %d", r.validity(), before)
	}
	if _, entries := r.entries(); len(entries) != 1 || entries[0].UID != 1 {
		t.Errorf("entries %+v", entries)
	}
	r.sound("restored")
}

// The id of a body that is gone is not given again.
func TestBodyIDIsNotGivenTwice(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	for i := range 2 {
		h.must(h.deliver(fmt.Sprint("m", i), "text"))
	}
	d, entries := h.entries()
	_, err := d.Update(background, nil, storage.Change{Expunge: storage.UIDs(entries[1:])})
	h.must(err)
	h.wait("the body is freed", func() bool { return h.count("SELECT count(*) FROM body") == 1 })
	h.must(h.deliver("m2", "text"))
	if id := h.count("SELECT max(id) FROM body"); id != 3 {
		t.Errorf("body %d after 1 and 2", id)
	}
}

// Of what all recipients share it is known where a copy for elsewhere would begin:
// behind Return-Path (RFC 5321 section 4.4).
func TestReturnPathIsApart(t *testing.T) {
	h := newHouse(t, Options{})
	const returnPath, trace = "Return-Path: <ä@example.org>\r\n", "Received: x\r\n"
	for i, octets := range []int{4, 600 << 10} {
		b, err := h.NewBody(background, 0)
		h.must(err)
		_, err = b.Write(make([]byte, octets))
		h.must(err)
		_, err = h.Deliver(background, &storage.Delivery{
			ID: fmt.Sprint("m", i), ReturnPath: returnPath, Trace: trace, Body: b, To: []storage.Recipient{{Mailbox: h.look}},
		})
		h.must(err)
		b.Discard()
	}
	c, err := db.Open(h.path, 100)
	h.must(err)
	defer c.Close()
	row, err := c.First("SELECT count(*), min(CAST(substr(CAST(prefix AS BLOB), trace + 1) AS TEXT)), max(CAST(substr(CAST(prefix AS BLOB), trace + 1) AS TEXT)) FROM body")
	h.must(err)
	if fmt.Sprint(row) != fmt.Sprint([]any{2, trace, trace}) {
		t.Errorf("shared: %q", row)
	}
	_, entries := h.entries()
	if entries[0].Octets != int64(len(returnPath)+len(trace)+4) {
		t.Errorf("%d octets", entries[0].Octets)
	}
}
