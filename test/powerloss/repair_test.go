package powerloss

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"mailsrv/internal/mail"
	"mailsrv/storage"
	"mailsrv/storage/sqlite"
)

const pageSize = 8192

// page returns the offset of the page that has needle, in the closed database.
func (w *recorded) page(needle string) int64 {
	w.t.Helper()
	octets, err := os.ReadFile(filepath.Join(w.below, "mailsrv.db"))
	if err != nil {
		w.t.Fatal(err)
	}
	at := bytes.Index(octets, []byte(needle))
	if at < 0 {
		w.t.Fatalf("%q does not stand in the database", needle)
	}
	return int64(at / pageSize * pageSize)
}

// unreadable makes reads of the pages at these offsets of the database fail.
func (w *recorded) unreadable(pages ...int64) {
	disk := uint64(0) // the number of the database file
	w.recorder.SetFail(func(a Access) syscall.Errno {
		if disk == 0 && a.Name == "mailsrv.db" {
			disk = a.File
		}
		bad := func(page int64) bool { return a.Offset <= page && page < a.Offset+int64(a.Length) }
		if a.File == disk && a.Kind == Read && slices.ContainsFunc(pages, bad) {
			return syscall.EIO
		}
		return 0
	})
}

// Unreadable sectors count as damage: check reports them, and a repair saves the rest.
func TestRepairOfUnreadableSectors(t *testing.T) {
	w := record(t, sqlite.Options{})
	const messages = 60
	for i := range messages {
		if err := w.deliver(fmt.Sprintf("message-%d-", i), 1500, w.ids[:1]); err != nil {
			t.Fatal(err)
		}
	}
	w.close()
	bad := []int64{w.page("message-20-\r\n"), w.page("message-24-\r\n"), w.page("message-40-\r\n")}
	w.unreadable(bad...)
	w.rest()
	var found []string
	rebuild := false
	report := func(f storage.Finding) {
		found = append(found, f.String())
		rebuild = rebuild || f.Remedy == storage.Rebuild
	}
	if n, err := w.store.Check(background, false, report); err != nil || n == 0 || !rebuild {
		t.Errorf("check: %v, %q", err, found)
	}
	w.close()

	if _, err := sqlite.Rebuild(background, w.dir, sqlite.Options{}, report); err != nil {
		t.Fatal(err)
	}
	w.options = sqlite.Options{Exclusive: true}
	w.open()
	if n, err := w.store.Check(background, true, report); n > 0 || err != nil {
		t.Errorf("after the repair: %d remain of %q, %v", n, found, err)
	}
	present := map[string]map[mail.MailboxID]bool{}
	if err := w.read(w.store, w.ids[0], present); err != nil {
		t.Error(err)
	}
	if len(present) < messages-3*5 || present["message-20-"] != nil {
		t.Errorf("%d of %d are left", len(present), messages)
	}
}

func TestRepairWithoutFirstPage(t *testing.T) {
	w := record(t, sqlite.Options{})
	w.close()
	w.unreadable(0)
	_, err := sqlite.Rebuild(background, w.dir, sqlite.Options{}, func(loss storage.Finding) { t.Error(loss) })
	if !errors.Is(err, storage.ErrLost) {
		t.Error(err)
	}
}

// A repair syncs what it has saved before it exchanges the database, and keeps it if
// something fails after that.
func TestRepairKeepsWhatItSaved(t *testing.T) {
	w := record(t, sqlite.Options{})
	w.rest()
	for i := range 10 {
		if err := w.deliver(fmt.Sprintf("message-%d-", i), 1500, w.ids[:1]); err != nil {
			t.Fatal(err)
		}
	}
	w.close()
	file := filepath.Join(w.below, "mailsrv.db")
	octets, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for page := range slices.Chunk(octets, pageSize) { // damages that of the entries
		if bytes.Contains(page, []byte("message-3-")) && !bytes.Contains(page, []byte("message-3-\r\n")) {
			clear(page)
		}
	}
	if err := os.WriteFile(file, octets, 0o600); err != nil {
		t.Fatal(err)
	}
	there := func(suffix string) bool { _, err := os.Stat(file + suffix); return err == nil }
	var synced []string // syncs of .lost.new, and of the folder that has it and .damaged
	w.recorder.SetFail(func(a Access) syscall.Errno {
		switch {
		case a.File == 0 && there(".new"):
			if a.Name != "." || there(".damaged") {
				synced = append(synced, a.Name)
			}
		case a.Kind == Sync && there(".damaged"):
			return syscall.EIO // after the new database got its name
		}
		return 0
	})
	var losses []string
	_, err = sqlite.Rebuild(background, w.dir, sqlite.Options{}, func(loss storage.Finding) { losses = append(losses, loss.String()) })
	if !errors.Is(err, syscall.EIO) {
		t.Errorf("%v, %q", err, losses)
	}
	w.recorder.SetFail(nil)
	if want := []string{"mailsrv.db.lost.new", "."}; !slices.Equal(synced, want) {
		t.Errorf("before the exchange %q were synced", synced)
	}
	if saved, _ := filepath.Glob(file + ".lost/*.eml"); len(saved) != 10 {
		t.Errorf("%d messages were saved", len(saved))
	}
	if !there(".damaged") {
		t.Error("the old database is gone")
	}
	w.rest()
	if n, err := w.store.Check(background, false, func(storage.Finding) {}); err != nil {
		t.Errorf("%d findings, %v", n, err)
	}
}
