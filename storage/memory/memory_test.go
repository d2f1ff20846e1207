package memory_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mailsrv/internal/buffers"
	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
	"mailsrv/storage"
	"mailsrv/storage/memory"
	"mailsrv/storage/storagetest"
)

func TestContract(t *testing.T) {
	stores := map[string]*memory.Store{} // a directory's, for as long as the test runs
	var one sync.Mutex
	fails := func(err error, methods ...string) memory.Fault {
		return func(_ context.Context, c memory.Call) error {
			if slices.Contains(methods, c.Method) {
				return err
			}
			return nil
		}
	}
	storagetest.Run(t, storagetest.Hooks{
		Open: func(_ *testing.T, dir string, l storagetest.Limits) storagetest.Backend {
			one.Lock()
			defer one.Unlock()
			if stores[dir] == nil {
				stores[dir] = memory.New(memory.Options{})
			}
			o := memory.Options{MaxStaged: l.MaxStaged, Buffers: l.Buffers, Limit: l.Limit, MaxAside: l.MaxAside}
			if l.MinFree > 0 {
				o.Fault = fails(storage.ErrNoSpace, "Accepting", "NewBody")
			}
			stores[dir].Reopen(o)
			return stores[dir]
		},
		Damage: func(_ *testing.T, b storagetest.Backend) { b.(*memory.Store).CutContent() },
		ReadOnly: func(_ *testing.T, b storagetest.Backend) {
			b.(*memory.Store).Reopen(memory.Options{Fault: fails(storage.ErrReadOnly, "Accepting", "Deliver", "Update")})
		},
	})
}

var background = context.Background()

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// look adds look@me.com.
func look(t *testing.T, s *memory.Store) mail.MailboxID {
	t.Helper()
	must(t, s.AddDomain(background, directory.Domain{Name: "me.com"}))
	id, err := s.AddMailbox(background, directory.Mailbox{Address: mail.Address{Local: "look", Domain: "me.com"}, Switches: directory.AllOn})
	must(t, err)
	return id
}

// deliver brings a message, whose head is "head" CRLF.
func deliver(s *memory.Store, to mail.MailboxID, text string) error {
	b, err := s.NewBody(background, 0)
	if err != nil {
		return err
	}
	defer b.Discard()
	if _, err := io.WriteString(b, text); err != nil {
		return err
	}
	_, err = s.Deliver(background, &storage.Delivery{ID: mail.NewID(), Trace: "head\r\n", Body: b, To: []storage.Recipient{{Mailbox: to}}})
	return err
}

// Each call is heard of before it is made, and fails as the test says, without a trace.
func TestFaults(t *testing.T) {
	cause := errors.New("a fault of the test")
	var failing string
	var at int64
	var calls []string
	s := memory.New(memory.Options{Fault: func(_ context.Context, c memory.Call) error {
		calls = append(calls, c.Method)
		if c.Method == failing && c.At == at {
			return cause
		}
		return nil
	}})
	id := look(t, s)
	must(t, deliver(s, id, "text\r\n"))
	for _, failing = range []string{"NewBody", "Write", "Deliver"} {
		if err := deliver(s, id, "text\r\n"); !errors.Is(err, cause) {
			t.Errorf("%s: %v", failing, err)
		}
	}
	failing = "OpenMaildrop"
	if _, err := s.OpenMaildrop(background, id); !errors.Is(err, cause) {
		t.Error(err)
	}
	failing = ""
	drop, err := s.OpenMaildrop(background, id)
	must(t, err)
	failing = "Entries"
	if _, err := storage.AllEntries(background, drop); !errors.Is(err, cause) {
		t.Error(err)
	}
	failing = ""
	entries, err := storage.AllEntries(background, drop)
	must(t, err)
	if len(entries) != 1 {
		t.Fatalf("%d messages were stored", len(entries))
	}
	failing = "Update"
	if _, err := drop.Update(background, nil, storage.Change{Expunge: storage.UIDs(entries)}); !errors.Is(err, cause) {
		t.Error(err)
	}
	failing, at = "Next", int64(len("head\r\n"))
	m, err := drop.Message(background, entries[0], 0)
	must(t, err)
	if piece, err := m.Next(background); string(piece) != "head\r\n" || err != nil {
		t.Errorf("%q, %v", piece, err)
	}
	if _, err := m.Next(background); !errors.Is(err, cause) {
		t.Error(err)
	}
	if err := s.Close(); err == nil || s.Reading() != 1 {
		t.Errorf("Close with a message open: %v", err)
	}
	m.Close()
	must(t, s.Close())
	if got := strings.Join(calls[len(calls)-5:], " "); got != "Entries Update Message Next Next" {
		t.Errorf("the last calls: %s", got)
	}
}

// What transfers hold is bounded, and given back by those that fail.
func TestMemoryIsBounded(t *testing.T) {
	s := memory.New(memory.Options{Buffers: buffers.NewPool(buffers.Max+8<<10, time.Millisecond), MaxStaged: buffers.Max})
	id := look(t, s)
	b, err := s.NewBody(background, 0)
	must(t, err)
	if _, err := b.Write(make([]byte, 3*buffers.Max)); !errors.Is(err, storage.ErrStagedFull) {
		t.Errorf("too much: %v", err)
	}
	small, err := s.NewBody(background, 0)
	must(t, err)
	if _, err := s.NewBody(background, 0); !errors.Is(err, buffers.ErrExhausted) {
		t.Errorf("one more: %v", err)
	}
	b.Discard()
	small.Discard()
	must(t, deliver(s, id, strings.Repeat("x", 2*buffers.Max)))
	must(t, deliver(s, id, strings.Repeat("y", 2*buffers.Max)))
	must(t, s.Close())
}

// The suite asks Check after each case: it must be able to find something.
func TestCheckFinds(t *testing.T) {
	s := memory.New(memory.Options{})
	id := look(t, s)
	for range 2 {
		b, err := s.NewBody(background, 0)
		must(t, err)
		_, err = s.Deliver(background, &storage.Delivery{ID: "twice", Body: b, To: []storage.Recipient{{Mailbox: id}}})
		must(t, err)
		b.Discard()
	}
	var findings []string
	n, err := s.Check(background, false, func(f storage.Finding) { findings = append(findings, f.String()) })
	must(t, err)
	if n != 1 || len(findings) != 1 || !strings.Contains(findings[0], "holds UIDL twice twice") {
		t.Errorf("%d findings: %q", n, findings)
	}
}

// Pieces are cut as asked, and one octet at a time is a message too.
func TestPieces(t *testing.T) {
	s := memory.New(memory.Options{Piece: 1})
	id := look(t, s)
	must(t, deliver(s, id, "text\r\n"))
	drop, err := s.OpenMaildrop(background, id)
	must(t, err)
	entries, err := storage.AllEntries(background, drop)
	must(t, err)
	for range 2 {
		m, err := drop.Message(background, entries[0], 0)
		must(t, err)
		var text []byte
		for {
			piece, err := m.Next(background)
			if err == io.EOF {
				break
			}
			must(t, err)
			if len(piece) != 1 {
				t.Fatalf("a piece of %d octets", len(piece))
			}
			text = append(text, piece...)
		}
		m.Close()
		if string(text) != "head\r\ntext\r\n" {
			t.Errorf("read %q", text)
		}
	}
}
