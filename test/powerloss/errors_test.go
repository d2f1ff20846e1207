package powerloss

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"mailsrv/internal/mail"
	"mailsrv/storage"
	"mailsrv/storage/sqlite"
)

// failOnce makes the next access of that kind to the file fail. failed reports whether
// that has happened.
func (w *recorded) failOnce(file string, kind Kind) (failed func() bool) {
	var done atomic.Bool
	w.recorder.SetFail(func(a Access) syscall.Errno {
		if a.Name == file && a.Kind == kind && !done.Swap(true) {
			return syscall.EIO
		}
		return 0
	})
	return done.Load
}

// A disk that fails once within a commit: nothing acknowledged is lost, and what was
// not stored is not acknowledged.
func TestCommitErrors(t *testing.T) {
	for name, kind := range map[string]Kind{"write": Write, "sync": Sync} {
		t.Run(name, func(t *testing.T) {
			w := record(t, sqlite.Options{})
			w.rest()
			if err := w.deliver("before", 3000, w.ids[:1]); err != nil {
				t.Fatal(err)
			}
			failed := w.failOnce("mailsrv.db-wal", kind)
			if err := w.deliver("during", 3000, w.ids[:2]); err == nil || !failed() {
				t.Errorf("acknowledged what the disk refused: %v", err)
			}
			if err := w.deliver("after", 3000, w.ids[:1]); err != nil {
				t.Fatalf("the disk is sound again: %v", err)
			}
			w.settle()
		})
	}
}

// A disk that fails once at a checkpoint. A long read lets only a part of the log be
// checkpointed, and not every part is synced by itself. Nothing acknowledged is lost when
// the log begins anew. After a failed sync it does not begin anew until a restart.
func TestCheckpointErrors(t *testing.T) {
	for name, c := range map[string]struct {
		kind Kind
		rest bool
	}{
		"write of a part":   {Write, false},
		"sync of a part":    {Sync, false},
		"write of the rest": {Write, true},
		"sync of the rest":  {Sync, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := record(t, sqlite.Options{MinFree: 4 << 20}) // a log of 64 pages, checkpointed from 16 on
			release := w.hold()
			w.fill("held", 25)
			var failed func() bool
			if c.rest {
				last := w.passOn(release)
				failed = w.failOnce("mailsrv.db", c.kind)
				last()
			} else {
				last := w.hold()
				failed = w.failOnce("mailsrv.db", c.kind)
				release()
				w.fillUntil("beside", failed)
				last()
			}
			w.fillUntil("failing", failed)
			if c.kind == Sync {
				for i := 0; w.deliver(fmt.Sprint("refused", i), 20000, w.ids[:1]) == nil; i++ {
					if i == 200 {
						t.Fatal("mail is taken though the database may not be on the disk")
					}
				}
				if err := w.store.Accepting(); !errors.Is(err, storage.ErrReadOnly) {
					t.Errorf("space: %v", err)
				}
				w.settle()
				if err := w.store.Close(); err != nil {
					t.Error(err)
				}
				w.settle()
				w.open()
			}
			since := w.recorder.Now()
			w.fillUntil("late", func() bool { return w.wrote(since, "mailsrv.db-wal", 0) })
			w.settle()
		})
	}
}

// hold keeps a read transaction of the store open until release is called.
func (w *recorded) hold() (release func()) {
	file := filepath.Join(w.t.TempDir(), "backup")
	reading, enough, ended := make(chan bool), make(chan bool), make(chan error, 1)
	go func() {
		begun := false
		ended <- w.store.Backup(background, file, func(int64, int64) {
			if !begun {
				begun = true
				close(reading)
				<-enough
			}
		})
	}()
	<-reading
	return func() {
		close(enough)
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
	}
}

// passOn begins a second long read once the database is synced as far as the first one
// lets the log be checkpointed, and ends the first. It then delivers until more of the log
// has been checkpointed, which is not synced, since the second read holds the rest.
func (w *recorded) passOn(first func()) (second func()) {
	var since atomic.Int64
	w.recorder.SetFail(func(a Access) syscall.Errno {
		if a.Name == "mailsrv.db" && a.Kind == Sync && since.CompareAndSwap(0, -1) {
			second = w.hold()
			since.Store(int64(w.recorder.Now()))
			first()
		}
		return 0
	})
	w.fillUntil("beside", func() bool { return since.Load() > 0 && w.wrote(int(since.Load()), "mailsrv.db", -1) })
	return second
}

// settle restarts the store and compares it with what was acknowledged.
func (w *recorded) settle() {
	w.t.Helper()
	disk := w.recorder.Disk()
	for seed := range uint64(3) {
		dir := scratch(w.t)
		if err := disk.LayOut(dir, disk.Len(), rand.New(rand.NewPCG(seed, 1))); err != nil {
			w.t.Fatal(err)
		}
		if err := w.verify(dir, disk.Len()); err != nil {
			w.t.Fatal(err)
		}
	}
}

// fill delivers n messages, one by one.
func (w *recorded) fill(id string, n int) {
	w.t.Helper()
	for i := range n {
		err := w.deliver(fmt.Sprint(id, i), 20000, w.ids[:1])
		if errors.Is(err, storage.ErrReadOnly) {
			return
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

// fillUntil delivers until something has happened.
func (w *recorded) fillUntil(id string, happened func() bool) {
	w.t.Helper()
	for i := 0; !happened(); i++ {
		if i == 200 {
			w.t.Fatal("delivered in vain: ", id)
		}
		w.fill(fmt.Sprint(id, i, "-"), 1)
	}
}

// wrote reports whether the file was written after the operation since, at an offset, or
// at any if offset is below 0.
func (w *recorded) wrote(since int, file string, offset int64) bool {
	return slices.ContainsFunc(w.recorder.Disk().ops[since:], func(o op) bool {
		return o.kind == opWrite && o.name == file && (offset < 0 || o.offset == offset)
	})
}

// A disk that fails three times in a minute gets no more mail; reading goes on.
func TestPersistentWriteErrors(t *testing.T) {
	w := record(t, sqlite.Options{})
	if err := w.deliver("before", 3000, w.ids[:1]); err != nil {
		t.Fatal(err)
	}
	w.recorder.SetFail(func(a Access) syscall.Errno {
		if a.Kind != Read && strings.HasSuffix(a.Name, "-wal") {
			return syscall.EIO
		}
		return 0
	})
	for i := range 4 {
		if err := w.deliver(fmt.Sprint("during", i), 3000, w.ids[:1]); err == nil {
			t.Fatal("acknowledged what the disk refused")
		}
	}
	if err := w.store.Accepting(); !errors.Is(err, storage.ErrReadOnly) {
		t.Errorf("space: %v", err)
	}
	w.recorder.SetFail(nil)
	if err := w.read(w.store, w.ids[0], map[string]map[mail.MailboxID]bool{}); err != nil {
		t.Errorf("reading: %v", err)
	}
	w.settle()
}

// A read error is a temporary failure of that read.
func TestReadErrors(t *testing.T) {
	w := record(t, sqlite.Options{})
	if err := w.deliver("long", 3<<20, w.ids[:1]); err != nil {
		t.Fatal(err)
	}
	drop, err := w.store.OpenMaildrop(background, w.ids[0])
	if err != nil {
		t.Fatal(err)
	}
	entries, err := storage.AllEntries(background, drop)
	if err != nil {
		t.Fatal(err)
	}
	w.recorder.SetFail(func(a Access) syscall.Errno {
		if a.Kind == Read {
			return syscall.EIO
		}
		return 0
	})
	m, err := drop.Message(background, entries[0], 0)
	for err == nil {
		_, err = m.Next(background)
	}
	if err == io.EOF || errors.Is(err, storage.ErrGone) || errors.Is(err, storage.ErrDamaged) {
		t.Errorf("a read error ends a message with %v", err)
	}
	w.recorder.SetFail(nil)
	if err := w.read(w.store, w.ids[0], map[string]map[mail.MailboxID]bool{}); err != nil {
		t.Errorf("the disk is sound again: %v", err)
	}
}
