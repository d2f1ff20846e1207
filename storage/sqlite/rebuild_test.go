package sqlite

import (
	"bytes"
	"context"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
	"mailsrv/storage"
	"mailsrv/storage/sqlite/db"
	"mailsrv/storage/sqlite/tables"
)

// Of the inner pages of tables (https://www.sqlite.org/fileformat2.html section 1.6).
const (
	innerTable  = 5
	innerHeader = 12
)

// rebuild lays the closed store out anew, repairs it, and checks that nothing is
// left to find but messages of which a part is lost.
func (h *house) rebuild() (losses []string) {
	h.t.Helper()
	report := func(loss storage.Finding) { losses = append(losses, loss.String()) }
	_, err := Rebuild(background, h.dir, Options{}, report)
	h.must(err)
	h.open(Options{Exclusive: true})
	if _, err := h.Check(background, true, report); err != nil {
		h.t.Fatal(err)
	}
	found, _ := h.findings(false)
	for _, finding := range found {
		if !strings.Contains(finding, " is damaged (look@me.com ") { // for its owner to give up
			h.t.Errorf("after the repair: %s", finding)
		}
	}
	return losses
}

// whole counts the messages that can be read to their end.
func (h *house) whole() map[string]bool {
	h.t.Helper()
	whole := map[string]bool{}
	for uidl, err := range h.readAll() {
		if err == io.EOF {
			whole[uidl] = true
		}
	}
	return whole
}

func TestRebuildLosesWhatStoodOnThePage(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	for i := range 10 {
		h.must(h.deliver(fmt.Sprint("m", i), fmt.Sprintf("needle-%d %s", i, strings.Repeat("x", 6000))))
	}
	h.damage("needle-5", true)
	losses := strings.Join(h.rebuild(), "\n")
	if !strings.Contains(losses, "mended: message m5 in look@me.com: its body is missing") {
		t.Errorf("losses: %s", losses)
	}
	if whole := h.whole(); len(whole) != 9 || whole["m5"] {
		t.Errorf("left: %v", whole)
	}
	if _, err := os.Stat(filepath.Join(h.dir, "mailsrv.db.damaged")); err != nil {
		t.Error(err)
	}
	h.must(h.deliver("after", "text"))

	h.must(h.Close())
	sound := func(loss storage.Finding) { t.Errorf("a sound database: %s", loss) }
	if sound, err := Rebuild(background, h.dir, Options{}, sound); err != nil || !sound {
		t.Errorf("a sound database: %t, %v", sound, err)
	}
	h.open(Options{})
	if _, err := Rebuild(background, h.dir, Options{}, sound); !errors.Is(err, storage.ErrOccupied) {
		t.Errorf("beside a command: %v", err)
	}
}

func TestRebuildSavesContentWithoutEntry(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	const messages = 400
	for i := range messages {
		content := fmt.Sprintf("content of %d", i)
		if i == messages-2 {
			content = strings.Repeat("long ", 100_000)
		}
		h.must(h.deliver(fmt.Sprintf("message-number-%d-", i), content))
	}
	h.damage(fmt.Sprintf("message-number-%d-", messages-1), true)
	losses := strings.Join(h.rebuild(), "\n")
	left := len(h.whole())
	saved, err := os.ReadDir(filepath.Join(h.dir, "mailsrv.db.lost"))
	h.must(err)
	if left < messages/2 || left == messages || left+len(saved) != messages {
		t.Errorf("of %d messages %d are left, %d saved", messages, left, len(saved))
	}
	want := fmt.Sprintf("content of %d messages whose entry is lost was saved", len(saved))
	if !strings.Contains(losses, want) || !strings.Contains(losses, fmt.Sprintf("in %d messages, holds", messages)) {
		t.Errorf("losses: %s", losses)
	}
	long := 0
	for _, f := range saved {
		content, err := os.ReadFile(filepath.Join(h.dir, "mailsrv.db.lost", f.Name()))
		h.must(err)
		if strings.HasSuffix(string(content), strings.Repeat("long ", 100_000)) {
			long++
		}
	}
	if long != 1 {
		t.Errorf("the long message was saved %d times", long)
	}
}

func TestRebuildMakesAddressesAgain(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	const others = 100
	for i := range others {
		a := mail.Address{Local: fmt.Sprintf("box%d", i), Domain: "me.com"}
		_, err := h.AddMailbox(background, directory.Mailbox{Address: a, Switches: directory.AllOn, Hash: strings.Repeat(fmt.Sprintf("hash-%d ", i), 20)})
		h.must(err)
	}
	_, err := h.RemoveMailbox(background, mail.Address{Local: fmt.Sprintf("box%d", others-1), Domain: "me.com"})
	h.must(err)
	h.must(h.deliver("m", "text"))
	h.damage(strings.Repeat(fmt.Sprintf("hash-%d ", others-2), 20), true)
	losses := strings.Join(h.rebuild(), "\n")
	if !strings.Contains(losses, fmt.Sprintf("mailbox box%d@me.com: its password, limits and times are lost, and it receives mail, even if it was disabled before", others-2)) {
		t.Errorf("losses: %s", losses)
	}
	if n, all := strings.Count(losses, "has no INBOX"), strings.Count(losses, "its password"); n != all || strings.Count(losses, "mailbox box0@me.com has no INBOX") > 1 {
		t.Errorf("%d mailboxes were lost, %d of them named: %s", all, n, losses)
	}
	for i := range others - 1 {
		a := mail.Address{Local: fmt.Sprintf("box%d", i), Domain: "me.com"}
		if match, err := h.Lookup(background, a); err != nil || match.Mailbox == nil {
			t.Errorf("%s: %v", a, err)
		}
	}
	if whole := h.whole(); len(whole) != 1 {
		t.Errorf("left: %v", whole)
	}
	id, err := h.AddMailbox(background, directory.Mailbox{Address: mail.Address{Local: "new", Domain: "me.com"}})
	if h.must(err); int(id) != others+2 {
		t.Errorf("the new mailbox has the id %d, a removed one's", id)
	}
}

// Of an alias the index has all, of a domain the name.
func TestRebuildSaysWhatAnIndexLacks(t *testing.T) {
	h := newHouse(t, Options{})
	alias := mail.Address{Local: "alias", Domain: "me.com"}
	h.must(h.AddAlias(background, directory.Alias{Address: alias, Targets: []mail.Address{{Local: "look", Domain: "me.com"}}}))
	h.zeroRoots("domain", "alias", "target")
	losses := h.rebuild()
	want := []string{
		"the table domain has damaged pages: what stood there is lost",
		"domain me.com: its limits, times and postmaster are lost",
		"the table alias has damaged pages: it was made again from its index",
		"the table target has damaged pages: it was made again from its index",
	}
	if len(losses) != 5 || !slices.Equal(losses[:4], want) {
		t.Errorf("losses: %q", losses)
	}
	if match, err := h.Lookup(background, alias); err != nil || match.Alias == nil || len(match.Alias.Targets) != 1 {
		t.Errorf("%+v, %v", match, err)
	}
}

// Whichever page is damaged, the repair ends, and what could be read by itself
// before can be read after it.
func TestRebuildAroundAnyPage(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	for i := range 150 {
		content := strings.Repeat(fmt.Sprintf("content of %d\r\n", i), 10)
		if i == 7 {
			content = strings.Repeat("long\r\n", 50_000)
		}
		h.must(h.deliver(fmt.Sprintf("m%d", i), content))
	}
	_, entries := h.entries()
	drop, err := h.OpenMaildrop(background, h.look)
	h.must(err)
	_, err = drop.Update(background, nil, storage.Change{Expunge: storage.UIDs(entries[20:30])})
	h.must(err)
	h.must(h.Close())
	h.Store = nil
	file := filepath.Join(h.dir, "mailsrv.db")
	sound, err := os.ReadFile(file)
	h.must(err)
	pages := len(sound) / db.PageSize
	random := rand.New(rand.NewPCG(1, 2))
	tried, shrunk := 0, 0
	for page := 1; page < pages; page++ { // without the first no file is a database
		if page%8 > 0 && bytes.Count(sound[page*db.PageSize:(page+1)*db.PageSize], []byte("long")) > 100 {
			continue // as its neighbours
		}
		noise := page%2 > 0
		h.dir = t.TempDir()
		octets := append([]byte(nil), sound...)
		clear(octets[page*db.PageSize : (page+1)*db.PageSize])
		if noise {
			for i := range db.PageSize {
				octets[page*db.PageSize+i] = byte(random.Uint32())
			}
		}
		h.must(os.WriteFile(filepath.Join(h.dir, "mailsrv.db"), octets, 0o600))
		before := map[string]bool{}
		func() {
			s, err := Open(background, h.dir, Options{})
			if err != nil {
				return
			}
			h.Store = s
			defer h.Close()
			if drop, err := h.OpenMaildrop(background, h.look); err == nil {
				if _, err := storage.AllEntries(background, drop); err == nil {
					before = h.whole()
				}
			}
		}()
		h.rebuild()
		after := h.whole()
		for uidl := range before {
			if !after[uidl] {
				t.Errorf("page %d, noise %t: %s could be read before the repair", page, noise, uidl)
			}
		}
		tried++
		if len(after) < 140 {
			shrunk++
		}
		h.must(h.Close())
		h.Store = nil
	}
	t.Logf("%d damages, %d of them cost messages", tried, shrunk)
	if shrunk == 0 || shrunk == tried {
		t.Errorf("%d of %d damages cost messages", shrunk, tried)
	}
}

// edit changes the octets of the closed database.
func (h *house) edit(change func(octets []byte)) {
	h.t.Helper()
	if h.Store != nil {
		h.must(h.Close())
		h.Store = nil
	}
	file := filepath.Join(h.dir, "mailsrv.db")
	octets, err := os.ReadFile(file)
	h.must(err)
	change(octets)
	h.must(os.WriteFile(file, octets, 0o600))
}

// zeroRoots clears the first page of tables and indexes.
func (h *house) zeroRoots(names ...string) {
	h.t.Helper()
	var roots []int64
	for _, name := range names {
		roots = append(roots, h.count("SELECT rootpage FROM sqlite_schema WHERE name = ?", name))
	}
	h.edit(func(octets []byte) {
		for _, root := range roots {
			clear(octets[(root-1)*db.PageSize : root*db.PageSize])
		}
	})
}

// editLeaves changes pages right below the first page of a table, numbered in the
// order of their ids.
func (h *house) editLeaves(table string, change func(leaf []byte), numbers ...int) {
	h.t.Helper()
	page := func(octets []byte, n int64) []byte { return octets[(n-1)*db.PageSize : n*db.PageSize] }
	root := h.count("SELECT rootpage FROM sqlite_schema WHERE name = ?", table)
	h.edit(func(octets []byte) {
		top := page(octets, root)
		for _, n := range numbers {
			if top[0] != innerTable || n >= int(binary.BigEndian.Uint16(top[3:])) {
				h.t.Fatalf("the table %s has no leaf %d", table, n)
			}
			cell := binary.BigEndian.Uint16(top[innerHeader+2*n:])
			change(page(octets, int64(binary.BigEndian.Uint32(top[cell:]))))
		}
	})
}

func zero(page []byte) { clear(page) }

// compacted delivers short messages and compacts them.
func (h *house) compacted(messages int) {
	h.t.Helper()
	for i := range messages {
		h.must(h.deliver(fmt.Sprint("m", i), "text"))
	}
	h.must(h.compactAll(background))
}

// What one bit makes of an id costs that message, not those behind it.
func TestRebuildAfterAFlippedBit(t *testing.T) {
	for name, bit := range map[string]byte{"higher": 0x10, "lower": 0x01} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, Options{Server: true})
			const messages, flipped = 300, 33
			h.compacted(messages)
			id := tables.EntryID(int64(h.look), flipped)
			var varint []byte // as SQLite writes it
			for x := id; x > 0; x >>= 7 {
				varint = append([]byte{byte(x&0x7f) | 0x80}, varint...)
			}
			varint[len(varint)-1] &= 0x7f
			h.edit(func(octets []byte) {
				at := bytes.Index(octets, varint)
				if at < 0 {
					t.Fatal("the id does not stand there")
				}
				for ; at >= 0; at = bytes.Index(octets, varint) { // copies of moved cells too
					octets[at+len(varint)-1-int(bit>>4)] ^= bit
				}
			})
			if losses := h.rebuild(); len(losses) == 0 {
				t.Error("nothing was lost")
			}
			if left := len(h.whole()); left < messages-2 {
				t.Errorf("%d of %d are left", left, messages)
			}
		})
	}
}

// Mail whose mailbox is lost with its index is held, never freed.
func TestRebuildHoldsMailWithoutMailbox(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	h.compacted(10)
	h.must(h.deliver("last", "text"))
	h.zeroRoots("mailbox", "sqlite_autoindex_mailbox_1")
	losses := strings.Join(h.rebuild(), "\n")
	if !strings.Contains(losses, "mailbox lost-1001@me.com: it holds the mail of") {
		t.Errorf("losses: %s", losses)
	}
	if left := len(h.whole()); left != 11 {
		t.Errorf("%d messages are left", left)
	}
	if n := h.count("SELECT count(*) FROM orphan"); n > 0 {
		t.Errorf("%d maildrops are to be emptied", n)
	}
}

// Mail stays with its mailbox where what says of folders is lost, and where that may
// give uids again the validity is raised. The ids of what is gone are not given again.
func TestRebuildWithoutFolders(t *testing.T) {
	for name, lost := range map[string]struct {
		tables []string
		raised bool
	}{
		"folders":                 {[]string{"folder"}, true},
		"folders and their index": {[]string{"folder", "sqlite_autoindex_folder_1"}, true},
		"counters":                {[]string{"tally"}, true},
		"numbers":                 {[]string{"store"}, false},
		"numbers and folders":     {[]string{"store", "folder"}, true},
		"counters of ids":         {[]string{"sqlite_sequence"}, false},
		"mailboxes":               {[]string{"mailbox"}, false},
		"mailboxes and folders":   {[]string{"mailbox", "folder"}, true},
		"all that counts":         {[]string{"mailbox", "folder", "tally", "store", "sqlite_sequence"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, Options{Server: true})
			h.compacted(10)
			h.must(h.deliver("last", "text"))
			before := h.validity()
			h.zeroRoots(lost.tables...)
			h.rebuild()
			if left := len(h.whole()); left != 11 {
				t.Errorf("%d messages are left", left)
			}
			if now := h.validity(); now > before != lost.raised || now < before {
				t.Errorf("validity %d after %d", now, before)
			}
			h.must(h.deliver("after", "text"))
			if n := h.count("SELECT count(*) FROM orphan"); n > 0 {
				t.Errorf("%d folders are to be emptied", n)
			}
			_, err := h.AddMailbox(background, directory.Mailbox{Address: mail.Address{Local: "new", Domain: "me.com"}})
			h.must(err)
			if ids := [3]int64{h.count("SELECT max(id) FROM folder"), h.count("SELECT max(id) FROM mailbox"), h.count("SELECT max(id) FROM body")}; ids != [3]int64{1002, 2, 12} {
				t.Errorf("the next ids are %v", ids)
			}
			h.sound("repaired")
		})
	}
}

// Where mailboxes and folders are lost with their indexes each folder's mail is held by
// itself.
func TestRebuildHoldsMailWithoutFolders(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	h.compacted(10)
	h.zeroRoots("mailbox", "sqlite_autoindex_mailbox_1", "folder", "sqlite_autoindex_folder_1")
	losses := strings.Join(h.rebuild(), "\n")
	if !strings.Contains(losses, "mailbox lost-1001@me.com: it holds the mail of") {
		t.Errorf("losses: %s", losses)
	}
	all, err := h.Mailboxes(background, "")
	h.must(err)
	if len(all) != 1 || all[0].Usage.Messages != 10 || !all[0].Switches.Disabled() || all[0].ID == h.look {
		t.Fatalf("mailboxes %+v", all)
	}
	h.look = all[0].ID
	if left := len(h.whole()); left != 10 {
		t.Errorf("%d messages are left", left)
	}
	h.sound("repaired")
}

// Chunks whose body is lost are saved, in their order, and named by whose they are.
func TestRebuildSavesChunksWithoutBody(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	other, err := h.AddMailbox(background, directory.Mailbox{Address: mail.Address{Local: "a/b", Domain: "me.com"}, Switches: directory.AllOn})
	h.must(err)
	long := strings.Repeat("0123456789", 60<<10)
	h.must(h.benchDeliver("long", []byte(long), h.look, other))
	h.must(h.benchDeliver("strange", []byte(long), other))
	h.zeroRoots("body")
	losses := strings.Join(h.rebuild(), "\n")
	for _, name := range []string{"1-long-look@me.com.eml", "2-strange-a_b@me.com.eml"} {
		if content, err := os.ReadFile(filepath.Join(h.dir, "mailsrv.db.lost", name)); err != nil || string(content) != long {
			t.Errorf("%d octets of %d, %v", len(content), len(long), err)
		}
	}
	if !strings.Contains(losses, "message long in a/b@me.com: its content is in "+filepath.Join(h.dir, "mailsrv.db.lost", "1-long-look@me.com.eml")) {
		t.Errorf("losses: %s", losses)
	}
}

// What stands between two damages is kept.
func TestRebuildBetweenDamages(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	needle := func(i int) string { return fmt.Sprintf("needle-%d-", i) }
	for i := range 30 {
		h.must(h.deliver(fmt.Sprint("m", i), strings.Repeat("x", 10000)+needle(i)+strings.Repeat("x", 10000)))
	}
	h.edit(func(octets []byte) {
		for _, i := range []int{10, 11, 12, 14} {
			at := bytes.Index(octets, []byte(needle(i))) / db.PageSize * db.PageSize
			clear(octets[at : at+db.PageSize])
		}
	})
	h.open(Options{})
	before := h.whole()
	h.must(h.Close())
	h.rebuild()
	after := h.whole()
	for uidl := range before {
		if !after[uidl] {
			t.Errorf("%s could be read before the repair", uidl)
		}
	}
	if len(before) < 20 || len(before) == 30 {
		t.Errorf("%d could be read before", len(before))
	}
}

// wide is a UIDL of which few go to a page.
func wide(i int) string { return fmt.Sprintf("m%069d", i) }

// A leaf between two damaged ones is kept, however few ids it has beside theirs.
func TestRebuildBetweenLeaves(t *testing.T) {
	t.Run("body", func(t *testing.T) {
		h := newHouse(t, Options{Server: true})
		for i := range 80 {
			size := 300
			if i == 24 || i == 25 {
				size = 3500
			}
			h.must(h.deliver(fmt.Sprint("m", i), strings.Repeat("x", size)))
		}
		h.editLeaves("body", zero, 0, 2)
		h.rebuild()
		if whole := h.whole(); !whole["m24"] || !whole["m25"] || whole["m0"] {
			t.Errorf("left: %v", whole)
		}
	})
	t.Run("entry", func(t *testing.T) {
		h := newHouse(t, Options{Server: true})
		var boxes []mail.MailboxID
		for i := range 120 {
			id, err := h.AddMailbox(background, directory.Mailbox{Address: mail.Address{Local: fmt.Sprint("box", i), Domain: "me.com"}, Switches: directory.AllOn})
			h.must(err)
			boxes = append(boxes, id)
		}
		h.look = boxes[60] // a leaf of its own, between maildrops with one message
		h.must(h.benchDeliver(wide(0), []byte("text"), boxes...))
		for i := range 200 {
			h.must(h.deliver(wide(i+1), "text"))
		}
		h.must(h.compactAll(background))
		h.editLeaves("entry", zero, 0, 2)
		h.rebuild()
		if left := len(h.whole()); left < 50 {
			t.Errorf("%d are left", left)
		}
	})
}

// What a flipped bit makes of the last id before a damaged leaf costs that message,
// not those behind the leaf.
func TestRebuildOfAFlippedBitBeforeALeaf(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	const messages = 300
	for i := range messages {
		h.must(h.deliver(wide(i), "text"))
	}
	h.must(h.compactAll(background))
	h.editLeaves("entry", func(leaf []byte) {
		rows := binary.BigEndian.Uint16(leaf[3:])
		last := binary.BigEndian.Uint16(leaf[8+2*(rows-1):]) // its length, then its id in six octets
		leaf[last+5] ^= 0x10
	}, 0)
	h.open(Options{})
	h.editLeaves("entry", zero, 1)
	h.rebuild()
	whole := h.whole()
	if len(whole) < 100 || !whole[wide(0)] || !whole[wide(messages-1)] {
		t.Errorf("%d are left", len(whole))
	}
}

// A program that knows nothing of our locks may still need the log.
func TestRebuildRefusesBesideAReader(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	h.compacted(10)
	h.zeroRoots("removed")
	h.open(Options{})
	reader, err := db.Open(h.path, 100)
	h.must(err)
	h.must(reader.Script("BEGIN"))
	_, err = reader.Number("SELECT count(*) FROM mailbox")
	h.must(err)
	h.must(h.deliver("late", "text"))
	h.must(h.Close())
	h.Store = nil
	if _, err := Rebuild(background, h.dir, Options{}, func(storage.Finding) {}); !errors.Is(err, storage.ErrUsed) {
		t.Errorf("beside a reader: %v", err)
	}
	h.must(reader.Script("ROLLBACK"))
	h.must(reader.Close())
	h.rebuild()
	if left := len(h.whole()); left != 11 {
		t.Errorf("%d messages are left", left)
	}
}

// The id of a removed mailbox, whose mail may wait to be freed, is not given again.
func TestRebuildGivesNoIDAgain(t *testing.T) {
	h := newHouse(t, Options{})
	old := mail.Address{Local: "old", Domain: "me.com"}
	id, err := h.AddMailbox(background, directory.Mailbox{Address: old, Switches: directory.AllOn})
	h.must(err)
	h.must(h.benchDeliver("old", []byte("text"), id))
	_, err = h.RemoveMailbox(background, old)
	h.must(err)
	h.zeroRoots("sqlite_sequence")
	h.rebuild()
	again, err := h.AddMailbox(background, directory.Mailbox{Address: old, Switches: directory.AllOn})
	if h.must(err); again <= id {
		t.Errorf("%d after %d", again, id)
	}
}

// What damage makes of an id does not use up the ids of mailboxes.
func TestRebuildTakesNoIDForGiven(t *testing.T) {
	for name, statement := range map[string]string{
		"sequence": "UPDATE sqlite_sequence SET seq = 1 << 47",
		"mailbox":  "INSERT INTO mailbox (id, domain, local, inbox, receives, logs_in, sends, hash, created) VALUES (1 << 31, 1, 'flipped', 0, 1, 1, 1, '', 0)",
		"orphan":   "INSERT INTO orphan (folder, mailbox) VALUES (1 << 31, 1 << 31)",
		"removed":  "INSERT INTO removed (mailbox, folder, octets, body, shared, uidl, own, arrived, flags, at, until) VALUES (1 << 31, 1 << 31, 0, 1 << 46, 0, 'x', '', 0, 0, 0, 0)",
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, Options{})
			h.tamper(statement)
			h.zeroRoots("share")
			h.rebuild()
			id, err := h.AddMailbox(background, directory.Mailbox{Address: mail.Address{Local: "new", Domain: "me.com"}})
			if err != nil || id != h.look+1 {
				t.Errorf("%d, %v", id, err)
			}
		})
	}
}

// A server that begins between Rebuild and Check knows each mailbox and what it
// holds, and nobody reads another's mail in the place of his own that is lost.
func TestRebuildLeavesNothingToMend(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	for i := range 10 {
		h.must(h.deliver(fmt.Sprint("m", i), fmt.Sprintf("needle-%d %s", i, strings.Repeat("x", 6000))))
	}
	h.damage("needle-9", true)
	h.open(Options{})
	h.zeroRoots("tally")
	_, err := Rebuild(background, h.dir, Options{}, func(storage.Finding) {})
	h.must(err)
	h.open(Options{Server: true})
	h.must(h.deliver("after", "another's"))
	if whole := h.whole(); len(whole) != 10 || whole["m9"] {
		t.Errorf("left: %v", whole)
	}
	if found, _ := h.findings(false); len(found) > 0 {
		t.Errorf("findings: %q", found)
	}
}

// What Open refuses stays as it is, and without its first page nothing can be found.
func TestRebuildRefuses(t *testing.T) {
	const noise = "\x00 noise \x80\xff"
	for name, c := range map[string]struct {
		statement string
		at        int // where noise stands in the first page
		is        error
	}{
		"another program's": {"PRAGMA application_id = 7", 0, storage.ErrForeign},
		"a newer one":       {"PRAGMA user_version = 99", 0, storage.ErrNewer},
		"no first page":     {"", 1, storage.ErrLost},
		"no schema":         {"", 101, storage.ErrLost},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, Options{Server: true})
			h.compacted(10)
			h.tamper(c.statement)
			h.zeroRoots("removed")
			var before []byte
			h.edit(func(octets []byte) {
				if c.at > 0 {
					copy(octets[c.at-1:], strings.Repeat(noise, 500))
				}
				before = bytes.Clone(octets)
			})
			_, err := Rebuild(background, h.dir, Options{}, func(storage.Finding) {})
			if !errors.Is(err, c.is) || strings.Contains(err.Error(), "\n") {
				t.Error(err)
			}
			h.edit(func(octets []byte) {
				if !bytes.Equal(octets, before) {
					t.Error("it was written to")
				}
			})
			if files, _ := filepath.Glob(filepath.Join(h.dir, "mailsrv.db.*")); len(files) > 0 {
				t.Errorf("left behind: %q", files)
			}
		})
	}
}

// A database that was never begun is Open's to begin.
func TestRebuildOfNothing(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mailsrv.db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Rebuild(background, dir, Options{}, func(loss storage.Finding) { t.Error(loss) }); err != nil {
		t.Error(err)
	}
}

// Check asks SQLite for its pages once in a repair, and both end with their context.
func TestRepairAsksForPagesOnce(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	h.compacted(5)
	h.must(h.Close())
	ended, end := context.WithCancel(background)
	end()
	if sound, err := Rebuild(ended, h.dir, Options{}, func(storage.Finding) {}); sound || !errors.Is(err, context.Canceled) {
		t.Errorf("sound %t, %v", sound, err)
	}
	h.open(Options{})
	h.zeroRoots("removed_until")
	for _, sound := range []bool{false, true} {
		h.open(Options{Sound: sound})
		if found, _ := h.findings(false); len(found) > 0 == sound {
			t.Errorf("sound %t: %q", sound, found)
		}
		h.must(h.Close())
	}
	h.Store = nil
}

func TestStatementEndsWithItsContext(t *testing.T) {
	h := newHouse(t, Options{})
	ctx, end := context.WithTimeout(background, 10*time.Millisecond)
	defer end()
	err := h.readers.Snapshot(ctx, func(c *db.Conn) error {
		return c.EachUntil(ctx, "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n",
			func([]driver.Value) error { return nil })
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if found, _ := h.findings(false); len(found) > 0 {
		t.Errorf("findings: %q", found)
	}
}
