package proof

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"mailsrv/quota"
)

// TestKill kills a server under load with SIGKILL, again and again. After each restart
// it checks everything that the server has acknowledged.
func TestKill(t *testing.T) {
	t.Parallel()
	kills := scale(t, "PROOF_KILLS", 5)
	r := dice(t)
	boxes := make([]string, 4)
	if kills > 20 {
		boxes = make([]string, 8)
	}
	for i := range boxes {
		boxes[i] = fmt.Sprintf("box%d", i)
	}
	s := newServer(t, filepath.Join(t.TempDir(), "data"), "storage: {min_free: 64MiB}")
	s.populate(quota.Limit{}, append(boxes, limited)...)
	s.do("", "quota", "set", domain, "0")
	s.do("", "mailbox", "set", address(boxes[0]), "--undelete-for", "7d", "--keep-retrieved", "30d")
	l := newLedger(t, boxes...)
	c := &crashes{t: t, s: s, l: l, r: r, boxes: boxes, admin: newAdministrator(t, s, l, -1)}

	every := max(1, min(25, kills/3))
	for round := 1; c.kills < kills && !t.Failed(); round++ {
		c.restart()
		thoroughly := round%every == 0
		c.admin.audit()
		l.audit(s, thoroughly)
		if thoroughly {
			s.check()
			c.progress(kills)
		}
		c.crash()
	}
	c.restart()
	c.admin.audit()
	l.audit(s, true)
	s.stop()
	s.check()
	s.start()
	l.audit(s, true)
	l.undelete(s, boxes[0])
	s.stop()
	s.check()
	c.progress(kills)
	if !l.moved() {
		t.Error("no message was acknowledged, or no deletion")
	}
}

// crashes is one run of kills.
type crashes struct {
	t     *testing.T
	s     *server
	l     *ledger
	r     *rand.Rand
	boxes []string
	admin *administrator

	kills  int
	starts []time.Duration
	byAim  map[event]int
}

// Events beside those of traffic.
const (
	atStart      event = "the server starting"
	atCheckpoint event = "the database file being written"
	atRandom     event = "20 to 400 ms of load"
)

// restart starts the server. Sometimes it kills it during the start first.
func (c *crashes) restart() {
	c.t.Helper()
	for c.kills > 0 && c.r.IntN(6) == 0 {
		came := c.s.launch()
		select {
		case <-came:
		case <-time.After(between(c.r, 0, 60*time.Millisecond)):
		}
		c.s.kill()
		c.count(atStart)
	}
	c.s.start()
	c.starts = append(c.starts, c.s.ready)
}

func (c *crashes) count(at event) {
	c.kills++
	if c.byAim == nil {
		c.byAim = map[event]int{}
	}
	c.byAim[at]++
}

// crash puts load on the server and kills it.
func (c *crashes) crash() {
	aims := []event{atRandom, atRandom, atRandom, atContent, atDot, atDot, atQuit, atQuit, atCommand, atCheckpoint}
	aim := aims[c.r.IntN(len(aims))]
	load := newTraffic(c.s, c.l, c.boxes, aim)
	load.admin = c.admin
	load.start(c.r, 6, 3)
	time.Sleep(between(c.r, 20*time.Millisecond, 400*time.Millisecond))
	if c.kills == 0 {
		within(startLimit, c.l.moved) // however slow the machine is
	}
	if !c.wait(load) {
		aim = atRandom
	}
	load.ending.Store(true)
	c.s.kill()
	load.end()
	c.count(aim)
}

// wait waits for the event aimed at and for a random time after it. It reports whether
// the event came.
func (c *crashes) wait(load *traffic) bool {
	limit := time.After(time.Second)
	switch load.aim {
	case atRandom:
		return true
	case atCheckpoint:
		for before := c.written(); c.written() == before; time.Sleep(200 * time.Microsecond) {
			select {
			case <-limit:
				return false
			default:
			}
		}
	default:
		select {
		case <-load.hit: // usually of an event before the sleep
		default:
		}
		select {
		case <-load.hit:
		case <-limit:
			return false
		}
	}
	time.Sleep(between(c.r, 0, 3*time.Millisecond))
	return true
}

// written returns when the database file was last written: at a checkpoint.
func (c *crashes) written() time.Time {
	info, err := os.Stat(filepath.Join(c.s.data, "mailsrv.db"))
	if err != nil {
		c.t.Fatal(err)
	}
	return info.ModTime()
}

func (c *crashes) progress(of int) {
	c.t.Helper()
	n := c.l.total
	c.t.Logf("%d of %d kills: %d messages acknowledged (%d in maildrops), %d stored without the acknowledgement arriving, %d refused; "+
		"%d deletions acknowledged, %d done without the answer arriving, %d undone; %d messages compared, %d duplicates; start-up %v to %v, median %v",
		c.kills, of, n.accepted, n.copies, n.late, n.refused, n.deleted, n.lateGone, n.kept, n.fetched, n.duplicates,
		slices.Min(c.starts).Round(time.Millisecond), slices.Max(c.starts).Round(time.Millisecond), median(c.starts).Round(time.Millisecond))
	c.t.Logf("kills at %v", c.byAim)
}

func median(all []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}
