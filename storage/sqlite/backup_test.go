package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"mailsrv/storage"
	"mailsrv/storage/sqlite/db"
)

// partial is what the name of an unfinished backup ends in.
const partial = ".mailsrv-part"

func quiet(int64, int64) {}

func restore(t *testing.T, dir, file string) error {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return Restore(background, dir, Options{}, f, quiet, func(finding storage.Finding) { t.Log(finding) })
}

// A backup holds the moment at which it began, and ends however much is committed
// meanwhile; restored, it has the same UIDLs.
func TestBackupAndRestore(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	for i := range 50 {
		h.must(h.deliver(fmt.Sprint("m", i), strings.Repeat("x", i*3000)))
	}
	h.must(h.deliver("long", strings.Repeat("x", 2<<20)))
	_, before := h.entries()

	file := filepath.Join(t.TempDir(), "backup.db")
	var done, total int64
	reports := 0
	ctx, cancel := context.WithCancel(background)
	defer cancel()
	h.must(h.Backup(ctx, file, func(d, n int64) {
		if d <= done || reports > 0 && n != total {
			t.Errorf("%d of %d octets were copied, then %d of %d: it began anew", done, total, d, n)
			cancel()
		}
		done, total = d, n
		reports++
		h.must(h.deliver(fmt.Sprint("during", reports), strings.Repeat("y", 20<<10)))
	}))
	if reports < 3 {
		t.Errorf("only %d commits meanwhile", reports)
	}
	if done != total || total == 0 {
		t.Errorf("progress ended at %d of %d", done, total)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := h.Backup(background, file, quiet); !errors.Is(err, fs.ErrExist) {
		t.Errorf("an existing file: %v", err)
	}

	restored := &house{t: t, dir: filepath.Join(t.TempDir(), "new"), look: h.look}
	h.must(restore(t, restored.dir, file))
	if err := restore(t, restored.dir, file); !errors.Is(err, storage.ErrNotEmpty) {
		t.Errorf("a second restore: %v", err)
	}
	restored.open(Options{Server: true})
	defer restored.Close()
	_, after := restored.entries()
	if !slices.Equal(after, before) {
		t.Fatalf("restored\n%v\nwant\n%v", after, before)
	}
	// An old UIDL is never given to a new message: ids are random, and the
	// uids that the lost mail had are no part of them.
	restored.must(restored.deliver("fresh", "z"))
	if found, n := restored.findings(false); n > 0 {
		t.Errorf("%q", found)
	}
	entriesLeft, err := filepath.Glob(filepath.Join(restored.dir, "*.restore*"))
	if err != nil || len(entriesLeft) > 0 {
		t.Errorf("left behind: %v", entriesLeft)
	}
}

func TestRestoreRefusesWhatIsNoBackup(t *testing.T) {
	h := newHouse(t, Options{})
	h.must(h.deliver("m", "xxx"))
	good := filepath.Join(t.TempDir(), "good.db")
	h.must(h.Backup(background, good, quiet))
	text := filepath.Join(t.TempDir(), "text")
	h.must(os.WriteFile(text, []byte(strings.Repeat("no database\n", 1000)), 0o600))
	damaged := filepath.Join(t.TempDir(), "damaged.db")
	octets, err := os.ReadFile(good)
	h.must(err)
	h.must(os.WriteFile(damaged, []byte(strings.Replace(string(octets), "xxx", "xyx", 1)), 0o600))

	for _, file := range []string{text, damaged} {
		dir := filepath.Join(t.TempDir(), "data")
		if err := restore(t, dir, file); err == nil {
			t.Errorf("%s was restored", file)
		}
		left, err := filepath.Glob(filepath.Join(dir, "mailsrv*"))
		if err != nil || len(left) > 0 {
			t.Errorf("%s left behind %v", file, left)
		}
	}
	h.must(h.Close())
	h.Store = nil
	if err := restore(t, h.dir, good); !errors.Is(err, storage.ErrNotEmpty) {
		t.Errorf("into a store: %v", err)
	}
	server, err := Open(background, t.TempDir(), Options{Server: true})
	h.must(err)
	defer server.Close()
	if err := restore(t, filepath.Dir(server.path), good); !errors.Is(err, storage.ErrLocked) {
		t.Errorf("beside a server: %v", err)
	}
}

// The log of a database that was moved away would be applied to the restored one.
func TestRestoreRefusesBesideAStrayLog(t *testing.T) {
	h := newHouse(t, Options{})
	file := filepath.Join(t.TempDir(), "b.db")
	h.must(h.Backup(background, file, quiet))
	for _, suffix := range []string{"-wal", "-shm", "-journal"} {
		dir := t.TempDir()
		h.must(os.WriteFile(filepath.Join(dir, "mailsrv.db"+suffix), nil, 0o600))
		if err := restore(t, dir, file); !errors.Is(err, storage.ErrNotEmpty) {
			t.Errorf("beside %s: %v", suffix, err)
		}
	}
}

// restoreWith is restore with something that happens once the copy is there.
func restoreWith(t *testing.T, dir, file string, meanwhile func()) error {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	once := sync.OnceFunc(meanwhile)
	return Restore(background, dir, Options{}, f, func(done, total int64) {
		if done == total {
			once()
		}
	}, func(finding storage.Finding) { t.Log(finding) })
}

// No command begins a store where one is being restored, and what another program
// puts there is not overwritten.
func TestRestoreOverwritesNothing(t *testing.T) {
	h := newHouse(t, Options{})
	h.must(h.deliver("m", "xxx"))
	file := filepath.Join(t.TempDir(), "b")
	h.must(h.Backup(background, file, quiet))

	dir := t.TempDir()
	h.must(restoreWith(t, dir, file, func() {
		if s, err := Open(background, dir, Options{}); !errors.Is(err, storage.ErrOccupied) {
			t.Errorf("a command meanwhile: %v", err)
			s.Close()
		}
	}))
	restored := &house{t: t, dir: dir, look: h.look}
	restored.open(Options{})
	defer restored.Close()
	if _, e := restored.entries(); len(e) != 1 {
		t.Errorf("%d messages", len(e))
	}
	if err := restore(t, dir, file); !errors.Is(err, storage.ErrOccupied) {
		t.Errorf("beside a command: %v", err)
	}

	other := t.TempDir()
	path := filepath.Join(other, "mailsrv.db")
	err := restoreWith(t, other, file, func() { h.must(os.WriteFile(path, []byte("theirs"), 0o600)) })
	if !errors.Is(err, storage.ErrNotEmpty) {
		t.Errorf("a file that came meanwhile: %v", err)
	}
	if text, _ := os.ReadFile(path); string(text) != "theirs" {
		t.Errorf("it was overwritten: %d octets", len(text))
	}
}

// The log of a restore that was killed would be applied to the next copy.
func TestRestoreAfterAKilledOne(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	h.must(h.deliver("m", "xxx"))
	file := filepath.Join(t.TempDir(), "b")
	h.must(h.Backup(background, file, quiet))
	foreign := newHouse(t, Options{})
	foreign.must(foreign.deliver("theirs", "yyy"))
	log, err := os.ReadFile(foreign.path + "-wal")
	h.must(err)

	dir := t.TempDir()
	part := filepath.Join(dir, "mailsrv.db.restore")
	h.must(os.WriteFile(part, []byte("half a copy"), 0o600))
	h.must(os.WriteFile(part+"-wal", log, 0o600))
	h.must(restore(t, dir, file))
	restored := &house{t: t, dir: dir, look: h.look}
	restored.open(Options{})
	defer restored.Close()
	if _, e := restored.entries(); len(e) != 1 || e[0].UIDL != "m" {
		t.Errorf("restored %v", e)
	}
}

// A copy whose log stays beside it, as while another program reads it, is not the
// whole backup.
func TestRestoreRefusesHalfOfACopy(t *testing.T) {
	h := newHouse(t, Options{})
	h.must(h.deliver("m", "xxx"))
	file := filepath.Join(t.TempDir(), "backup.db")
	h.must(h.Backup(background, file, quiet))
	dir := t.TempDir()
	part := filepath.Join(dir, "mailsrv.db.restore")
	err := restoreWith(t, dir, file, func() {
		reader, err := db.Open(part, 100)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { reader.Close() })
		if err := reader.Script("BEGIN; SELECT count(*) FROM entry"); err != nil {
			t.Fatal(err)
		}
	})
	if err == nil || !strings.Contains(err.Error(), "does not become one file") {
		t.Errorf("got %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "mailsrv*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestBackupCanBeBrokenOff(t *testing.T) {
	h := newHouse(t, Options{})
	h.must(h.deliver("m", strings.Repeat("x", 10<<20)))
	ctx, cancel := context.WithCancel(background)
	dir := t.TempDir()
	err := h.Backup(ctx, filepath.Join(dir, "b"), func(int64, int64) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind %v", left)
	}
}

// What a killed backup left is in the way of no later one.
func TestBackupAfterAKilledOne(t *testing.T) {
	h := newHouse(t, Options{})
	h.must(h.deliver("m", "xxx"))
	dir := t.TempDir()
	file := filepath.Join(dir, "b")
	for _, left := range db.FilesOf(file + partial) {
		h.must(os.WriteFile(left, []byte(strings.Repeat("half a page", 2000)), 0o600))
	}
	h.must(h.Backup(background, file, quiet))
	if all, _ := os.ReadDir(dir); len(all) != 1 {
		t.Errorf("left behind: %v", all)
	}
	h.must(restore(t, filepath.Join(t.TempDir(), "data"), file))
}

// Two backups to one file: the second is refused, and harms nothing.
func TestTwoBackupsAtOnce(t *testing.T) {
	h := newHouse(t, Options{})
	h.must(h.deliver("m", strings.Repeat("x", 5<<20)))
	file := filepath.Join(t.TempDir(), "b")
	h.must(h.Backup(background, file, func(int64, int64) {
		if err := h.Backup(background, file, quiet); !errors.Is(err, storage.ErrBackup) {
			t.Errorf("the second: %v", err)
		}
	}))
	h.must(restore(t, filepath.Join(t.TempDir(), "data"), file))
}

// A backup never writes where a link leads that somebody else laid, nor over what
// was put there while it copied.
func TestBackupOverwritesNothing(t *testing.T) {
	h := newHouse(t, Options{})
	h.must(h.deliver("m", "xxx"))
	dir := t.TempDir()
	file, theirs := filepath.Join(dir, "b"), filepath.Join(dir, "theirs")
	write := func(path string) { h.must(os.WriteFile(path, []byte("theirs"), 0o600)) }
	unharmed := func(path string) {
		t.Helper()
		if text, _ := os.ReadFile(path); string(text) != "theirs" {
			t.Errorf("%s was overwritten: %d octets", path, len(text))
		}
	}
	write(theirs)
	h.must(os.Symlink(theirs, file+partial))
	if err := h.Backup(background, file, quiet); err == nil {
		t.Error("a link was followed")
	}
	unharmed(theirs)
	h.must(os.Remove(file + partial))
	if err := h.Backup(background, file, func(int64, int64) { write(file) }); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a file that came meanwhile: %v", err)
	}
	unharmed(file)
	if all, _ := os.ReadDir(dir); len(all) != 2 {
		t.Errorf("left behind: %v", all)
	}
}
