package sqlite

import (
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"mailsrv/internal/buffers"
	"mailsrv/internal/mail"
	"mailsrv/storage/sqlite/db"
	"mailsrv/storage/sqlite/tables"
)

// size is what database and log take on the disk, in octets.
func (h *house) size() (octets int64) {
	for _, file := range db.FilesOf(h.path) {
		if info, err := os.Stat(file); err == nil {
			octets += info.Size()
		}
	}
	return octets
}

// Long messages that are broken off again and again, beside small mail that leaves no
// rest, count until they are free: the disk grows by no more than may be staged, and
// nobody is refused for what is being freed.
func TestTransfersBrokenOffAreBounded(t *testing.T) {
	const maxStaged, long, rounds = 16 << 20, 6 << 20, 40
	h := newHouse(t, Options{Server: true, MaxStaged: maxStaged})
	h.must(h.deliver("m", "text"))
	most := h.size() + maxStaged*11/10 + db.MaxLogPages*db.PageSize
	var attack, beside sync.WaitGroup
	var staged atomic.Int64
	for range 2 {
		attack.Go(func() {
			for range rounds {
				b, err := h.NewBody(background, 0)
				if err != nil {
					t.Error(err)
					return
				}
				n, err := b.Write(make([]byte, long))
				if err != nil {
					t.Errorf("after %d octets: %v", n, err)
				}
				staged.Add(int64(n))
				b.Discard()
			}
		})
	}
	done := make(chan struct{})
	beside.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if err := h.benchDeliver(mail.NewID(), []byte("text"), h.look); err != nil {
				t.Error(err)
			}
			if now := h.size(); now > most {
				t.Errorf("%d MiB on the disk, of at most %d, with %d staged in all", now>>20, most>>20, staged.Load()>>20)
				return
			}
		}
	})
	attack.Wait()
	close(done)
	beside.Wait()
	h.wait("all to be freed", func() bool { return h.staging.octets() == 0 })
	if n := h.count("SELECT count(*) FROM transfer") + h.count("SELECT count(*) FROM chunk"); n != 0 {
		t.Errorf("%d rows are left", n)
	}
	if found, n := h.findings(false); n > 0 {
		t.Errorf("findings: %q", found)
	}
}

// What an earlier server has left behind counts, whether it was broken off or not.
func TestTransfersLeftBehindCount(t *testing.T) {
	h := newHouse(t, Options{}) // which frees nothing
	for range 2 {
		b, err := h.NewBody(background, 0)
		h.must(err)
		_, err = b.Write(make([]byte, 5*buffers.Max/2))
		h.must(err)
	}
	h.tamper("UPDATE transfer SET over = 1 WHERE body = (SELECT min(body) FROM transfer)")
	c, err := db.Open(h.path, 100)
	h.must(err)
	defer c.Close()
	if chunks, err := tables.BreakOffAll(c); err != nil || chunks != 4 {
		t.Errorf("%d chunks, %v", chunks, err)
	}
	if n := h.count("SELECT count(*) FROM transfer WHERE over = 0"); n != 0 {
		t.Errorf("%d are not broken off", n)
	}
}

// Who finds no room waits for what is being freed, and for nothing else.
func TestStagingWaits(t *testing.T) {
	s := staging{most: 100}
	h := &house{t: t}
	h.must(s.take(background, 80))
	if err := s.take(background, 30); err == nil {
		t.Error("more than there is room for")
	}
	s.breakOff(80)
	got := make(chan error)
	go func() { got <- s.take(background, 30) }()
	select {
	case err := <-got:
		t.Fatalf("it did not wait: %v", err)
	default:
	}
	s.free(40)
	h.must(<-got)
	if n := s.octets(); n != 70 {
		t.Errorf("%d octets", n)
	}
}
