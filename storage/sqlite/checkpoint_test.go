package sqlite

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"mailsrv/internal/mail"
	"mailsrv/storage"
)

// The write-ahead log begins anew while mail keeps coming, and without the
// committer having to bring all of it in.
func TestCheckpointBesideDeliveries(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	look, err := openConn(h.path, readerCacheKiB)
	h.must(err)
	defer look.Close()
	pages := func() int64 {
		log, err := look.checkpoint("NOOP")
		h.must(err)
		return log.pages
	}
	var enough atomic.Bool
	var group sync.WaitGroup
	content := strings.Repeat("x", 60<<10)
	for range 8 {
		group.Go(func() {
			for !enough.Load() {
				if err := h.deliver(mail.NewID(), content); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	most, before := int64(0), int64(0)
	h.wait("the log to begin anew", func() bool {
		now := pages()
		anew := now < before
		most, before = max(most, now), now
		return anew
	})
	enough.Store(true)
	group.Wait()
	if most >= maxWALPages {
		t.Errorf("the log had %d pages", most)
	}
}

// Who reads for long keeps the log from beginning anew, and nobody waits for it.
func TestCheckpointBesideALongReader(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	h.must(h.deliver("first", "x"))
	content := strings.Repeat("x", 200<<10)
	read := func(c *conn) int64 {
		n, err := c.number("SELECT count(*) FROM message")
		h.must(err)
		return n
	}
	err := h.readers.snapshot(background, func(c *conn) error {
		before := read(c)
		for range 2 * maxWALPages * pageSize / len(content) {
			h.must(h.deliver(mail.NewID(), content))
		}
		if after := read(c); after != before {
			t.Errorf("a snapshot of %d messages became one of %d", before, after)
		}
		return nil
	})
	h.must(err)
	look, err := openConn(h.path, readerCacheKiB)
	h.must(err)
	defer look.Close()
	h.wait("the log to begin anew", func() bool {
		h.must(h.deliver(mail.NewID(), content))
		log, err := look.checkpoint("NOOP")
		h.must(err)
		return log.pages < maxWALPages/2
	})
}

// Many deleted messages are freed while others are delivered, few only when
// there is nothing else to do.
func TestFreeingWaitsForARest(t *testing.T) {
	h := newHouse(t, Options{Server: true})
	h.must(h.deliver("a", "x"))
	d, e := h.entries()
	h.wait("the first look to end", func() bool { return !h.writer.idleWork.Load() })
	_, err := d.Update(background, nil, storage.Change{Expunge: storage.UIDs(e)})
	h.must(err)
	h.writer.addGarbage(maxBacklog)
	h.must(h.deliver("b", "x"))
	h.must(h.deliver("c", "x"))
	if n := h.count("SELECT count(*) FROM garbage"); n != 0 {
		t.Errorf("%d bodies wait, and many more do", n)
	}
	d, e = h.entries()
	_, err = d.Update(background, nil, storage.Change{Expunge: storage.UIDs(e)})
	h.must(err)
	h.wait("a rest", func() bool { return h.count("SELECT count(*) FROM body") == 0 })
}
