package proof

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
	"mailsrv/quota"
	"mailsrv/storage/sqlite"
)

// everyone is an alias of all maildrops of the quota races. again is an alias of everyone.
const (
	everyone = "everyone"
	again    = "again"
)

// TestQuotaRaces makes many concurrent deliveries to maildrops with little room, while
// messages are deleted and limits are lowered and raised. In every sample the counters
// must equal the rows, and no maildrop may hold more than its limit, unless that was
// lowered; then nothing may be added.
func TestQuotaRaces(t *testing.T) {
	t.Parallel()
	rounds := scale(t, "PROOF_RACES", 1)
	q := newQuotaRace(t)
	if q.senders = 40; rounds > 1 {
		q.senders = 200
	}
	for round := range rounds {
		q.storm(time.Second)
		q.l.audit(q.s, false)
		q.s.check()
		if t.Failed() {
			return
		}
		if round == rounds-1 || round%10 == 9 {
			n, f := q.l.total, q.referee
			t.Logf("%d of %d rounds: %d messages acknowledged (%d in maildrops), %d recipients refused, %d messages refused at their end, "+
				"%d deletions acknowledged, %d changes of limits, %d samples, in which maildrops were above a lowered limit %d times",
				round+1, rounds, n.accepted, n.copies, q.refused.Load(), n.refused, n.deleted, f.changes, f.samples, f.above)
		}
	}
	q.l.audit(q.s, true)
	q.s.stop()
	q.s.check()
}

// quotaRace is a server with maildrops for which there is more mail than room.
type quotaRace struct {
	t     *testing.T
	r     *rand.Rand
	s     *server
	l     *ledger
	boxes []string

	senders int
	referee *referee
	refused atomic.Int64 // recipients
}

// serverLimit is the limit in the configuration.
var serverLimit = quota.Limit{Octets: 3 << 20, Messages: 60}

func newQuotaRace(t *testing.T) *quotaRace {
	q := &quotaRace{t: t, r: dice(t), boxes: []string{"one", "two", "three", "four"}}
	q.s = newServer(t, filepath.Join(t.TempDir(), "data"), "quota: {default_size: 3MiB, default_messages: 60}", "storage: {min_free: 8MiB}")
	q.s.populate(quota.Limit{}, q.boxes...)
	var all []string
	for _, local := range q.boxes {
		all = append(all, address(local))
	}
	q.s.do("", append([]string{"alias", "add", address(everyone)}, all...)...)
	q.s.do("", "alias", "add", address(again), address(everyone))
	q.l = newLedger(t, q.boxes...)
	q.s.start()
	q.referee = newReferee(q)
	return q
}

// storm runs the races for a time.
func (q *quotaRace) storm(length time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), length)
	defer cancel()
	load := newTraffic(q.s, q.l, q.boxes, "")
	defer load.cancel()
	var group sync.WaitGroup
	repeat := func(count int, who string, f func(r *rand.Rand) error) {
		for range count {
			r := fork(q.r)
			group.Go(func() {
				for ctx.Err() == nil {
					if err := f(r); err != nil {
						q.t.Errorf("%s: %v", who, err)
						return
					}
				}
			})
		}
	}
	repeat(q.senders, "sender", q.sendSome)
	repeat(1, "fetcher", load.fetchSome)
	repeat(1, "fetcher of all", q.empty)
	repeat(1, "referee", func(*rand.Rand) error { return q.referee.sample() })
	repeat(1, "limits", q.referee.makeRoom)
	repeat(1, "administrator", q.referee.command)
	group.Wait()
}

// allowed matches the refusals that are right in a race for room.
var allowed = regexp.MustCompile(`^(552 5\.2\.[23]|452 4\.2\.2|452 4\.5\.3) `)

// sendSome sends some messages on one connection: of all sizes, with the true size
// declared, none or a smaller one, to mailboxes, tagged addresses and aliases.
func (q *quotaRace) sendSome(r *rand.Rand) error {
	c, err := dialSMTP(q.s.smtp, false)
	if err != nil {
		return err
	}
	defer c.close()
	load := traffic{l: q.l, allowed: allowed}
	for range 3 {
		m := newMessage(r, sizeForRace(r))
		declared := []int{len(m.content), 0, len(m.content) / 2}[r.IntN(3)]
		// A recipient without room must be alone in later transactions of the same
		// sender, for a day. So each message has another sender.
		taken, refused, err := c.envelopeFrom("s"+m.token, declared, q.someRecipients(r)...)
		for path, no := range refused {
			q.refused.Add(1)
			load.judge(no, path)
		}
		if err != nil {
			return err
		}
		if len(taken) == 0 {
			continue
		}
		q.expand(m, taken)
		q.l.begin(m)
		id, err := c.content(m, manner{chunks: r.IntN(2) == 0, pieces: 1 + r.IntN(2)}, hooks{end: func() { q.l.complete(m) }})
		if err := load.outcome(m, id, err, false); err != nil {
			return err
		}
	}
	_, err = c.command("QUIT")
	return err
}

func sizeForRace(r *rand.Rand) int {
	switch n := r.IntN(100); {
	case n < 50:
		return r.IntN(2 << 10)
	case n < 80:
		return r.IntN(100 << 10)
	case n < 98:
		return r.IntN(700 << 10)
	default:
		return 3<<20 - 2000 + r.IntN(4000) // about the whole limit
	}
}

// someRecipients picks forward-paths, some of which lead to the same maildrop.
func (q *quotaRace) someRecipients(r *rand.Rand) []string {
	var to []string
	for _, i := range r.Perm(len(q.boxes))[:1+r.IntN(3)] {
		to = append(to, q.boxes[i])
	}
	switch r.IntN(6) {
	case 0:
		to = []string{everyone}
	case 1:
		to = append(to, again)
	case 2:
		to = append(to, to[0]+"+tag")
	}
	return to
}

// expand sets the maildrops in which a message must be, and the first path that leads to
// each.
func (q *quotaRace) expand(m *message, taken []string) {
	m.paths = map[string]string{}
	for _, path := range taken {
		local, _, _ := strings.Cut(path, "+")
		boxes := []string{local}
		if path == everyone || path == again {
			boxes = q.boxes
		}
		for _, b := range boxes {
			if !slices.Contains(m.to, b) {
				m.to = append(m.to, b)
				m.paths[b] = path
			}
		}
	}
}

// referee samples the maildrops and changes their limits. So it knows what each sample
// may hold.
type referee struct {
	q     *quotaRace
	store *sqlite.Store // beside the server's
	db    *sql.DB       // the same database, read without the store
	turn  sync.Mutex    // of changing a limit

	mu       sync.Mutex // held while a sample is taken
	changing bool
	limits   map[string]quota.Limit // as sampled last
	// What a maildrop may hold above its limit: as much as it held, or may have held,
	// when the limit was lowered. It becomes less as messages are deleted.
	excuse map[string]quota.Usage

	samples, above, changes int
}

func newReferee(q *quotaRace) *referee {
	store, err := sqlite.Open(context.Background(), q.s.data, sqlite.Options{})
	q.s.must(err)
	q.t.Cleanup(func() { store.Close() })
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(q.s.data, "mailsrv.db")+"?mode=ro&_busy_timeout=5000")
	q.s.must(err)
	q.t.Cleanup(func() { db.Close() })
	return &referee{q: q, store: store, db: db, limits: map[string]quota.Limit{}, excuse: map[string]quota.Usage{}}
}

// sample checks all maildrops at one moment.
func (f *referee) sample() error {
	time.Sleep(time.Millisecond) // let others have the lock
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.look()
}

// sampleQuery reads limits, counters and rows of all maildrops in one statement, so that
// all are of one moment.
const sampleQuery = `
SELECT m.local, coalesce(m.limit_octets, d.limit_octets, ?), coalesce(m.limit_messages, d.limit_messages, ?), p.all_octets, p.all_messages,
    (SELECT coalesce(sum(octets), 0) FROM message WHERE folder = m.inbox), (SELECT count(*) FROM message WHERE folder = m.inbox)
FROM mailbox m JOIN domain d ON d.id = m.domain JOIN tally p ON p.folder = m.inbox`

func (f *referee) look() error {
	rows, err := f.db.Query(sampleQuery, serverLimit.Octets, serverLimit.Messages)
	if err != nil {
		return err
	}
	defer rows.Close()
	f.samples++
	for rows.Next() {
		var local string
		var limit quota.Limit
		var counted, held quota.Usage
		if err := rows.Scan(&local, &limit.Octets, &limit.Messages, &counted.Octets, &counted.Messages, &held.Octets, &held.Messages); err != nil {
			return err
		}
		if counted != held {
			return fmt.Errorf("%s holds %+v; its counters say %+v", local, held, counted)
		}
		excuse := f.excuse[local]
		if held.Octets > max(limit.Octets, excuse.Octets) || held.Messages > max(limit.Messages, excuse.Messages) {
			return fmt.Errorf("%s holds %+v; its limit is %+v, and when that was lowered it held no more than %+v", local, held, limit, excuse)
		}
		excuse = quota.Usage{}
		if held.Octets > limit.Octets {
			excuse.Octets = held.Octets
		}
		if held.Messages > limit.Messages {
			excuse.Messages = held.Messages
		}
		if excuse != (quota.Usage{}) {
			f.above++
		}
		if !f.changing {
			f.excuse[local], f.limits[local] = excuse, limit
		}
	}
	return rows.Err()
}

// change calls do, which changes limits. Until do returns, a maildrop may be filled up to
// the old limit.
func (f *referee) change(do func() error) error {
	f.turn.Lock()
	defer f.turn.Unlock()
	if err := f.begin(); err != nil {
		return err
	}
	err := do()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.changing = false
	return err
}

func (f *referee) begin() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.look(); err != nil {
		return err
	}
	f.changes++
	f.changing = true
	for local, limit := range f.limits {
		excuse := f.excuse[local]
		f.excuse[local] = quota.Usage{Octets: max(excuse.Octets, limit.Octets), Messages: max(excuse.Messages, limit.Messages)}
	}
	return nil
}

// makeRoom sets the limit of a maildrop so that some more messages fit, or, if it holds
// much, below what it holds.
func (f *referee) makeRoom(r *rand.Rand) error {
	a := mail.Address{Local: f.q.boxes[r.IntN(len(f.q.boxes))], Domain: domain}
	octets, messages := 1+r.Int64N(400<<10), 1+r.Int64N(8)
	time.Sleep(between(r, 0, 10*time.Millisecond))
	return f.change(func() error {
		return f.store.ChangeMailbox(context.Background(), a, func(m *directory.Mailbox) {
			m.Limit = quota.Limit{Octets: m.Usage.Octets + octets, Messages: m.Usage.Messages + messages}
			if m.Usage.Octets > 4<<20 || m.Usage.Messages > 100 {
				m.Limit = quota.Limit{Octets: m.Usage.Octets / 2, Messages: max(1, m.Usage.Messages/2)}
			}
		})
	})
}

// command changes a limit by the command line: that of a mailbox, or that of the domain,
// which the others inherit.
func (f *referee) command(r *rand.Rand) error {
	of, octets, messages := domain, strconv.Itoa(1<<20+r.IntN(4<<20)), strconv.Itoa(30+r.IntN(80))
	if r.IntN(2) == 0 {
		of = address(f.q.boxes[r.IntN(len(f.q.boxes))])
	}
	if r.IntN(3) == 0 {
		octets, messages = "inherit", "inherit"
	}
	time.Sleep(between(r, 0, 200*time.Millisecond))
	return f.change(func() error {
		if o := run(f.q.s.command(context.Background(), "", "quota", "set", of, octets, "--messages", messages)); o.code != 0 {
			return errors.New(o.stderr)
		}
		return nil
	})
}

// empty deletes all messages of a maildrop.
func (q *quotaRace) empty(r *rand.Rand) error {
	time.Sleep(between(r, 0, 50*time.Millisecond))
	local := q.boxes[r.IntN(len(q.boxes))]
	c, all, err := visit(q.s.pop3, local)
	if inUse(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer c.close()
	d := q.l.mark(local)
	for _, m := range all {
		if err := c.dele(m); err != nil {
			return err
		}
		d.uidls = append(d.uidls, m.uidl)
	}
	q.l.quit(d)
	if err := c.quit(nil); err != nil {
		return err
	}
	q.l.deleted(d)
	return nil
}
