package main

import (
	"bytes"
	"context"
	"database/sql"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3"

	"mailsrv/internal/admin"
	"mailsrv/internal/logs"
	"mailsrv/storage"
	"mailsrv/storage/sqlite"
)

// retrieve notes all messages of a maildrop as retrieved so long ago.
func (h *house) retrieve(address string, ago time.Duration) {
	h.t.Helper()
	ctx := context.Background()
	store, err := sqlite.Open(ctx, h.dir, sqlite.Options{})
	if err != nil {
		h.t.Fatal(err)
	}
	defer store.Close()
	m, err := (&admin.Admin{Directory: store, Store: store}).Mailbox(ctx, address)
	if err != nil {
		h.t.Fatal(err)
	}
	drop, err := store.OpenMaildrop(ctx, m.ID)
	if err != nil {
		h.t.Fatal(err)
	}
	entries, err := storage.AllEntries(ctx, drop)
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := drop.Update(ctx, nil, storage.Change{Retrieved: storage.UIDs(entries)}); err != nil {
		h.t.Fatal(err)
	}
	db, err := sql.Open("sqlite3", filepath.Join(h.dir, "mailsrv.db"))
	if err != nil {
		h.t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("UPDATE entry SET retrieved = retrieved - ? WHERE folder = (SELECT inbox FROM mailbox WHERE id = ?)", int64(ago/time.Second), int64(m.ID)); err != nil {
		h.t.Fatal(err)
	}
}

func TestExpiryRunsAtOnceAndAgain(t *testing.T) {
	h := newHouse(t)
	h.do("", "domain", "add", "me.com", "--keep-retrieved", "2d")
	h.do("", "mailbox", "add", "look@me.com", "--generate")
	h.do("", "mailbox", "add", "b@me.com", "--generate")
	h.deliver("look@me.com", 2)
	h.deliver("b@me.com", 1)
	h.retrieve("look@me.com", 3*day)
	h.retrieve("b@me.com", day)

	ctx := context.Background()
	store, err := sqlite.Open(ctx, h.dir, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	log := &logs.Recorder{}
	logger := slog.New(slog.NewTextHandler(log, nil))
	a := &admin.Admin{Directory: store, Store: store, Logger: logger}
	stop := startExpiry(a, 5*time.Millisecond, logger)
	await(t, "what is due at the start", func() bool { return strings.Count(log.String(), "\n") == 2 })
	for _, id := range []string{"uidl1", "uidl2"} {
		if !strings.Contains(log.String(), "msg=expunged mailbox=look@me.com messages=1 octets=46 id="+id+" reason=expired\n") {
			t.Errorf("%s is not in the log: %s", id, log)
		}
	}
	// The same again, due only after a later look.
	h.retrieve("b@me.com", 2*day)
	await(t, "what became due", func() bool { return strings.Contains(log.String(), "mailbox=b@me.com") })
	stop()
	if left, err := a.Maildrop(ctx, "b@me.com"); err != nil || len(left.Entries) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// After a leap of the clock nothing is removed because of its age, until somebody says
// that the clock is right.
func TestExpiryPausesAfterALeap(t *testing.T) {
	h := newHouse(t)
	h.do("", "domain", "add", "me.com", "--keep-retrieved", "2d")
	h.do("", "mailbox", "add", "look@me.com", "--generate")
	h.deliver("look@me.com", 1)
	h.retrieve("look@me.com", 3*day)

	ctx := context.Background()
	store, err := sqlite.Open(ctx, h.dir, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if _, _, err := store.LookAtClock(ctx, time.Now().Add(-60*day), 0); err != nil {
		t.Fatal(err)
	}
	log := &logs.Recorder{}
	logger := slog.New(remedial{slog.NewTextHandler(log, nil)})
	a := &admin.Admin{Directory: store, Store: store, Logger: logger}
	stop := startExpiry(a, 5*time.Millisecond, logger)
	defer stop()
	await(t, "a warning", func() bool {
		return strings.Contains(log.String(), "the clock stands 1440h0m0s ahead of where it was expected: nothing is removed because of its age while the server runs for 24h0m0s: where the clock is right, end that with: mailsrv check --clock-is-right")
	})
	time.Sleep(50 * time.Millisecond)
	if left, err := a.Maildrop(ctx, "look@me.com"); err != nil || len(left.Entries) != 1 {
		t.Errorf("left %v, %v", left, err)
	}
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("%d lines: %s", n, log)
	}
	if out := h.do("", "check", "--clock-is-right"); !strings.HasPrefix(out, "It is 2") {
		t.Errorf("got %q", out)
	}
	await(t, "what is due", func() bool { return strings.Contains(log.String(), "id=uidl1 reason=expired") })
}

// Stopping ends also what waits for the database.
func TestExpiryEnds(t *testing.T) {
	h := newHouse(t)
	h.do("", "domain", "add", "me.com")
	store, err := sqlite.Open(context.Background(), h.dir, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	stop := startExpiry(&admin.Admin{Directory: store, Store: store, Logger: logger}, time.Nanosecond, logger)
	stop()
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	if log.Len() > 0 {
		t.Errorf("logged %s", &log)
	}
}
