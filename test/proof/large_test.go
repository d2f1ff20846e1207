package proof

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mailsrv/internal/mail"
	"mailsrv/quota"
	"mailsrv/storage"
	"mailsrv/storage/sqlite"
)

const (
	largeBoxes = 20
	// largeStart is how long a start may take, whatever the store holds.
	largeStart = 5 * time.Second
	// largeWAL is how many octets of the log have to be read after a crash: nearly the
	// most that there are between two checkpoints.
	largeWAL = 6 << 20
)

// TestLargeStore kills a server that has much mail, is removing some, and has a long
// write-ahead log. It measures how soon the next one is ready.
func TestLargeStore(t *testing.T) {
	t.Parallel()
	prefill := scale(t, "PROOF_PREFILL", 1000) / largeBoxes
	long := prefill > 1000
	r := dice(t)
	names := make([]string, largeBoxes)
	for i := range names {
		names[i] = fmt.Sprintf("full%d", i)
	}
	s := newServer(t, filepath.Join(t.TempDir(), "data"))
	s.populate(noLimit, append(names, "busy")...)
	begun := time.Now()
	fill(t, s, prefill, names)
	t.Logf("%d messages laid in, %v", prefill*largeBoxes, time.Since(begun).Round(time.Millisecond))

	l := newLedger(t, "busy")
	rounds := 1
	if long {
		rounds = 4
	}
	for i := range rounds {
		s.start()
		load := newTraffic(s, l, []string{"busy"}, "")
		load.start(r, 4, 0)
		if long {
			await(t, time.Minute, "a long write-ahead log", func() bool { return octets(s.data, "mailsrv.db-wal") > largeWAL })
		}
		s.do("", "mailbox", "remove", address(names[i]), "--yes")
		load.ending.Store(true)
		s.kill()
		load.end()
		wal := octets(s.data, "mailsrv.db-wal")
		s.start()
		t.Logf("ready after %v: database of %d MiB, write-ahead log of %d MiB",
			s.ready.Round(time.Millisecond), octets(s.data, "mailsrv.db")>>20, wal>>20)
		if long && s.ready > largeStart { // in the short form other tests use the machine
			t.Errorf("the start took %v", s.ready)
		}
		l.audit(s, false)
		s.kill()
	}
	s.start()
	for name, usage := range s.usage() {
		if strings.HasPrefix(name, "full") && usage.Messages != int64(prefill) {
			t.Errorf("%s holds %d messages, not %d", name, usage.Messages, prefill)
		}
	}
	l.audit(s, true)
	begun = time.Now()
	s.check()
	t.Logf("check took %v", time.Since(begun).Round(time.Millisecond))
	s.stop()
}

// fill delivers a number of messages into each maildrop, directly into the store.
func fill(t *testing.T, s *server, each int, locals []string) {
	ctx := context.Background()
	store, err := sqlite.Open(ctx, s.data, sqlite.Options{})
	s.must(err)
	all, err := store.Mailboxes(ctx, "")
	s.must(err)
	content := text[:4<<10]
	var group sync.WaitGroup
	var left atomic.Int64
	left.Store(int64(each * len(locals)))
	for range 32 {
		group.Go(func() {
			for n := left.Add(-1); n >= 0; n = left.Add(-1) {
				body, err := store.NewBody(ctx, int64(len(content)))
				if err == nil {
					_, err = body.Write(content)
				}
				if err == nil {
					to := all[1+int(n)%len(locals)].ID // the first by name is "busy"
					_, err = store.Deliver(ctx, &storage.Delivery{ID: mail.NewID(), Body: body, To: []storage.Recipient{{Mailbox: to}}})
					body.Discard()
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	s.must(store.Close())
}

// usage returns what "quota show" says of each maildrop, by local part.
func (s *server) usage() map[string]quota.Usage {
	s.t.Helper()
	usage := map[string]quota.Usage{}
	for _, m := range s.quotas() {
		usage[m.local()] = quota.Usage{Octets: m.Quota.Octets, Messages: m.Quota.Messages}
	}
	return usage
}

// quotaLine is one maildrop as "quota show --json" has it.
type quotaLine struct {
	Address string
	Quota   struct {
		Octets, Messages int64
		LimitOctets      int64 `json:"limit_octets"`
		LimitMessages    int64 `json:"limit_messages"`
	}
}

func (q quotaLine) local() string { return strings.TrimSuffix(q.Address, "@"+domain) }

func (s *server) quotas() []quotaLine {
	s.t.Helper()
	var all []quotaLine
	s.must(json.Unmarshal([]byte(s.do("", "quota", "show", "--json")), &all))
	return all
}

// octets returns the size of a file, 0 if there is none.
func octets(elements ...string) int64 {
	info, err := os.Stat(filepath.Join(elements...))
	if err != nil {
		return 0
	}
	return info.Size()
}
