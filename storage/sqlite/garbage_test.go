package sqlite

import (
	"bytes"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
	"mailsrv/quota"
	"mailsrv/storage"
	"mailsrv/storage/sqlite/db"
)

// keepDeletedFor has look@me.com keep aside what is deleted.
func (h *house) keepDeletedFor(d time.Duration) {
	h.t.Helper()
	h.must(h.ChangeMailbox(background, mail.Address{Local: "look", Domain: "me.com"}, func(m *directory.Mailbox) { m.Retention.Deleted = d }))
}

// deleteAll deletes all mail of look@me.com.
func (h *house) deleteAll() {
	h.t.Helper()
	d, e := h.entries()
	_, err := d.Update(background, nil, storage.Change{Expunge: storage.UIDs(e)})
	h.must(err)
}

// Under a load that never rests what is garbage is freed all the same, whatever it is.
func TestGarbageIsFreedWithoutARest(t *testing.T) {
	h := newHouse(t, Options{Server: true, lookEvery: time.Hour})
	other, err := h.AddMailbox(background, directory.Mailbox{Address: mail.Address{Local: "other", Domain: "me.com"}, Switches: directory.AllOn})
	h.must(err)
	h.keepDeletedFor(24 * time.Hour)
	for i := range 300 {
		h.must(h.deliver(fmt.Sprint("m", i), "text"))
	}
	h.deleteAll() // is aside
	for i := range 300 {
		h.must(h.deliver(fmt.Sprint("n", i), "text"))
	}
	h.look = other
	h.must(h.deliver("first", "text"))
	before := h.count("SELECT max(id) FROM body")

	load := func(what, query string) {
		t.Helper()
		stop, done := make(chan struct{}), make(chan struct{})
		go func() { // from another goroutine than that which looks
			defer close(done)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if err := h.benchDeliver(mail.NewID(), []byte("text"), other); err != nil {
					t.Error(err)
				}
			}
		}()
		defer func() { close(stop); <-done }()
		h.wait(what, func() bool { return h.count(query, before) == 0 })
	}
	h.must(h.Collect(background, time.Now().Add(25*time.Hour), func(storage.Expired) {}))
	load("what was aside to be freed", "SELECT count(*) FROM body WHERE id <= ? AND id NOT IN (SELECT body FROM message)")
	_, err = h.RemoveMailbox(background, mail.Address{Local: "look", Domain: "me.com"})
	h.must(err)
	load("the mail of a removed mailbox to be freed", "SELECT (SELECT count(*) FROM body WHERE id < ?) + (SELECT count(*) FROM orphan)")
	if found, n := h.findings(false); n > 0 {
		t.Errorf("findings: %q", found)
	}
}

// asideRows puts rows aside behind the store's back, of which the later half is due.
func (h *house) asideRows(n int) {
	h.t.Helper()
	h.tamper(fmt.Sprintf(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
INSERT INTO removed (mailbox, folder, octets, body, shared, uidl, own, arrived, flags, at, until)
SELECT %d, 1, 10, 1000000 + i, 0, 'm' || i, '', 0, 0, 1, iif(i > %d, 1, 4000000000) FROM n`, n, h.look, n/2))
}

// However many messages are aside, due or not, what a slice forgets of them takes no
// longer: it goes along an index.
func TestForgettingGoesAlongAnIndex(t *testing.T) {
	median := func(rows int) time.Duration {
		h := newHouse(t, Options{})
		h.asideRows(rows)
		var took []time.Duration
		for range 40 {
			begun := time.Now()
			if more, err := h.forgetSome(background, time.Now().Unix()); err != nil || !more {
				t.Fatal(more, err)
			}
			took = append(took, time.Since(begun))
		}
		slices.Sort(took)
		return took[len(took)/2]
	}
	few, many := median(10_000), median(400_000)
	t.Logf("a slice takes %v of 10,000 and %v of 400,000", few, many)
	if many > 4*few+5*time.Millisecond {
		t.Errorf("a slice takes %v of 10,000 and %v of 400,000", few, many)
	}
}

// When space is short what is aside makes room, the oldest first, before mail is refused;
// each message that goes is named in the log.
func TestAsideMakesRoom(t *testing.T) {
	var log bytes.Buffer
	h := newHouse(t, Options{Server: true})
	h.keepDeletedFor(24 * time.Hour)
	for i := range 200 {
		h.must(h.deliver(fmt.Sprint("m", i), "text"))
	}
	h.deleteAll()
	h.must(h.deliver("stays", "text"))
	h.must(h.Close())
	h.open(Options{Server: true, MinFree: 1 << 60, lookEvery: 20 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	h.wait("what is aside to go", func() bool {
		return h.count("SELECT count(*) FROM removed") == 0 && h.count("SELECT count(*) FROM body") == 1
	})
	if found, n := h.findings(false); n > 0 {
		t.Errorf("findings: %q", found)
	}
	h.must(h.Close())
	h.Store = nil
	lines := log.String()
	for i := range 200 {
		if id := regexp.MustCompile(fmt.Sprintf(`mailbox=look@me.com .*\bm%d\b`, i)); !id.MatchString(lines) {
			t.Fatalf("m%d is not named in:\n%s", i, lines)
		}
	}
}

// What others had to make room for is named in the log by whoever made it go.
func TestWhatMakesRoomIsLogged(t *testing.T) {
	var log bytes.Buffer
	h := newHouse(t, Options{Limit: quota.Limit{Messages: 2}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	h.keepDeletedFor(24 * time.Hour)
	for i := range 5 {
		h.must(h.deliver(fmt.Sprint("m", i), "text"))
		h.deleteAll()
	}
	for i := range 5 {
		line := fmt.Sprintf("msg=expunged mailbox=look@me.com messages=1 octets=4 id=m%d ", i)
		if got, want := strings.Contains(log.String(), line), i < 3; got != want {
			t.Errorf("m%d is named: %v", i, got)
		}
	}
}

// What is gone does not come back with a repair.
func TestGoneStaysGoneAfterARebuild(t *testing.T) {
	h := newHouse(t, Options{})
	h.keepDeletedFor(24 * time.Hour)
	h.must(h.deliver("m", "text"))
	h.deleteAll()
	h.keepDeletedFor(directory.RetentionOff)
	h.keepDeletedFor(24 * time.Hour)
	h.must(h.deliver("n", "text"))
	h.deleteAll()
	h.zeroRoots("removed_until")
	h.rebuild()
	restored, left, err := h.Undelete(background, h.look, time.Time{}, quota.Limit{}, mail.NewID)
	if h.must(err); restored.Messages != 1 || left.Messages != 0 {
		t.Errorf("%+v came back, %+v are left", restored, left)
	}
}

// While a command brings much back, mail comes in beside it: no delivery waits for more
// than a few of its transactions.
func TestUndeleteLeavesRoom(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	other, err := h.AddMailbox(background, directory.Mailbox{Address: mail.Address{Local: "other", Domain: "me.com"}, Switches: directory.AllOn})
	h.must(err)
	h.keepDeletedFor(24 * time.Hour)
	const messages = 40_000
	h.asideRows(messages)
	h.tamper(fmt.Sprintf("UPDATE kept SET octets = 10 * %[1]d, messages = %[1]d; INSERT INTO kept VALUES (%[2]d, 10 * %[1]d, %[1]d, 0)", messages, h.look))
	line := &house{t: t, dir: h.dir, look: h.look}
	line.open(Options{})
	defer line.Close()
	done := make(chan error)
	go func() {
		restored, left, err := line.Undelete(background, h.look, time.Unix(0, 0), quota.Limit{}, mail.NewID)
		if err == nil && (restored.Messages != messages || left.Messages != 0) {
			err = fmt.Errorf("%+v came back, %+v are left", restored, left)
		}
		done <- err
	}()
	var passed []int64 // commits of the command during each delivery
	for running := true; running; {
		select {
		case err := <-done:
			h.must(err)
			running = false
		default:
			before := line.engine.Stats().Commits
			h.must(h.benchDeliver(mail.NewID(), []byte("text"), other))
			passed = append(passed, line.engine.Stats().Commits-before)
		}
	}
	slices.Sort(passed)
	most, all := passed[len(passed)-1], line.engine.Stats().Commits
	t.Logf("%d deliveries beside %d commits of the command, at most %d of them during one delivery", len(passed), all, most)
	// Counted, not timed: a busy machine slows the command and the server alike.
	if all < messages/1000 || most > all/4 || len(passed) < int(all) {
		t.Errorf("%d deliveries beside %d commits of the command, %d of them during one delivery", len(passed), all, most)
	}
}

// Mail that is delivered and deleted again and again takes no more of the disk than what
// may be aside, what waits to be freed, and the log.
func TestDeletedAgainAndAgain(t *testing.T) {
	const limit = 1 << 20
	h := newHouse(t, Options{Server: true, Limit: quota.Limit{Octets: limit}})
	h.keepDeletedFor(24 * time.Hour)
	most := h.size() + 3*limit + 2*maxWaste + db.MaxLogPages*db.PageSize
	for i := range 300 {
		h.must(h.benchDeliver(fmt.Sprint("m", i), make([]byte, limit*4/5), h.look))
		h.deleteAll()
		if n := h.count("SELECT octets FROM kept WHERE mailbox = ?", int64(h.look)); n > limit {
			t.Fatalf("%d octets are aside", n)
		}
		if now := h.size(); now > most {
			t.Fatalf("after %d rounds %d MiB on the disk, of at most %d", i, now>>20, most>>20)
		}
	}
	t.Logf("%d MiB on the disk, of at most %d", h.size()>>20, most>>20)
}
