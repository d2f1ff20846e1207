package sqlite

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"mailsrv/internal/directory"
	"mailsrv/storage"
	"mailsrv/storage/sqlite/db"
)

// fillMany lays this number of small messages into a new store's only mailbox.
func fillMany(s *Store, messages int) error {
	return s.change(background, func(c *db.Conn) error {
		return c.Script(fmt.Sprintf(`
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
INSERT INTO body (octets, chunks, crc, prefix, trace, data) SELECT 1, 0, 3251651376, '', 0, x'61' FROM n;
INSERT INTO entry (id, octets, body, shared, uidl, own, arrived, flags, modseq)
SELECT (SELECT inbox FROM mailbox) << 32 | id, 1, id, 0, 'a-UIDL-of-some-twenty-octets-' || id, '', 1, 0, 1 FROM body ORDER BY id;
UPDATE tally SET octets = %[1]d, messages = %[1]d, all_octets = %[1]d, all_messages = %[1]d, last = %[1]d, modseq = 1`, messages))
	})
}

// A large change in pieces of all lengths changes what it names, and nothing else.
func TestLargeUpdate(t *testing.T) {
	for name, keep := range map[string]time.Duration{"for good": directory.RetentionOff, "to be undeleted": time.Hour} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, Options{Server: true})
			const messages = 30_000
			h.must(fillMany(h.Store, messages))
			h.must(h.ChangeDomain(background, "me.com", func(d *directory.Domain) { d.Retention.Deleted = keep }))
			d, err := h.OpenMaildrop(background, h.look)
			h.must(err)
			var gone, seen []storage.UID
			left := map[storage.UID]bool{}
			for uid := storage.UID(1); uid <= messages; {
				for range 1 + rand.IntN([]int{2, 2, 30, 300}[rand.IntN(4)]) {
					gone = append(gone, uid)
					uid++
				}
				for n := range 1 + rand.IntN(5) {
					if left[uid] = true; n%2 == 0 {
						seen = append(seen, uid)
					}
					uid++
				}
			}
			removed, err := d.Update(background, nil, storage.Change{Expunge: gone, Retrieved: seen})
			h.must(err)
			for uid := range left { // the last may be behind the end
				if uid > messages {
					delete(left, uid)
				}
			}
			if int(removed.Messages) != messages-len(left) {
				t.Errorf("%d were removed, %d are to be left of %d", removed.Messages, len(left), messages)
			}
			_, entries := h.entries()
			for _, e := range entries {
				if !left[e.UID] {
					t.Fatalf("uid %d is left", e.UID)
				}
			}
			if n := h.count("SELECT count(*) FROM entry WHERE retrieved IS NOT NULL"); len(entries) != len(left) || n < int64(len(seen))-5 || n > int64(len(seen)) {
				t.Errorf("%d are left, %d noted as retrieved; want %d, %d", len(entries), n, len(left), len(seen))
			}
			if n := h.count("SELECT count(*) FROM removed"); (n > 0) != (keep > 0) {
				t.Errorf("%d are kept aside", n)
			}
			if found, _ := h.findings(false); len(found) > 0 {
				t.Errorf("findings: %q", found[:min(len(found), 5)])
			}
		})
	}
}

// BenchmarkLargeQuit removes 100,000 scattered messages of 200,000, and reports how long
// the longest delivery beside that took.
func BenchmarkLargeQuit(b *testing.B) {
	for name, keep := range map[string]time.Duration{"for-good": directory.RetentionOff, "to-be-undeleted": time.Hour} {
		b.Run(name, func(b *testing.B) {
			longest := time.Duration(0)
			for range b.N {
				b.StopTimer()
				s, ids := benchStore(b, 1)
				const messages = 200_000
				err := fillMany(s, messages)
				if err == nil {
					err = s.ChangeDomain(background, "me.com", func(d *directory.Domain) { d.Retention.Deleted = keep })
				}
				d, opened := s.OpenMaildrop(background, ids[0])
				if err != nil || opened != nil {
					b.Fatal(err, opened)
				}
				var gone []storage.UID
				for uid := storage.UID(1); uid <= messages; uid += 2 {
					gone = append(gone, uid)
				}
				begun, over := make(chan struct{}), make(chan struct{})
				var beside sync.WaitGroup
				beside.Go(func() {
					for i := 0; ; i++ {
						select {
						case <-over:
							return
						default:
						}
						start := time.Now()
						if err := s.benchDeliver(fmt.Sprint("beside", i), []byte("x\r\n"), ids[0]); err != nil {
							b.Error(err)
						}
						longest = max(longest, time.Since(start))
						if i == 0 {
							close(begun)
						}
					}
				})
				<-begun
				b.StartTimer()
				if _, err := d.Update(background, nil, storage.Change{Expunge: gone}); err != nil {
					b.Error(err)
				}
				b.StopTimer()
				close(over)
				beside.Wait()
			}
			b.ReportMetric(longest.Seconds()*1000, "ms/longest-delivery")
		})
	}
}
