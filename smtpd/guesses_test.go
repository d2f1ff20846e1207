package smtpd

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"mailsrv/internal/logs"
)

var (
	guessing = netip.MustParseAddr("192.0.2.1")
	start    = time.Unix(1_700_000_000, 0)
)

// obeyed lets a client ask for so many unknown recipients, one after the other, and
// returns when the last one is answered.
func (g *guesses) obeyed(t *testing.T, client netip.Addr, now time.Time, n int) time.Time {
	t.Helper()
	for range n {
		wait, ok := g.turn(client, now)
		if !ok {
			t.Fatal("a client that waits for each answer does not get one")
		}
		now = now.Add(wait)
		g.guessed(client, now)
	}
	return now
}

func (g *guesses) isRefused(client netip.Addr, now time.Time) bool {
	refused, _ := g.refuses(client, now)
	return refused
}

func TestGuessersAreSlowedThenRefused(t *testing.T) {
	g := newGuesses(logs.Discard())
	now := g.obeyed(t, guessing, start, slowAfter)
	if now != start {
		t.Errorf("the first guesses took %v", now.Sub(start))
	}
	now = g.obeyed(t, guessing, now, refuseAfter-slowAfter-1)
	if took := now.Sub(start); took < (refuseAfter-slowAfter-2)*time.Second {
		t.Errorf("%d guesses in %v", refuseAfter-1, took)
	}
	if g.isRefused(guessing, now) {
		t.Error("refused before its time")
	}
	now = g.obeyed(t, guessing, now, 1)
	neighbour := guessing.Next()
	if !g.isRefused(guessing, now) || g.isRefused(neighbour, now) {
		t.Error("the guesser and nobody else is to be refused")
	}
	if wait, ok := g.turn(neighbour, now); wait != 0 || !ok {
		t.Errorf("a neighbour waits %v", wait)
	}
	if now = now.Add(refuseFor - 1); !g.isRefused(guessing, now) {
		t.Error("not refused for ten minutes")
	}
	if now = now.Add(1); g.isRefused(guessing, now) {
		t.Error("refused for more than ten minutes")
	}
	if end := g.obeyed(t, guessing, now, slowAfter); end != now {
		t.Error("its past is held against it")
	}
}

// A network whose mail is accepted is no guesser, whatever else it asks for.
func TestSendersAreNotGuessers(t *testing.T) {
	g := newGuesses(logs.Discard())
	for range 500 {
		g.served(guessing, 1, start)
		if end := g.obeyed(t, guessing, start, 9); end != start {
			t.Fatal("slowed")
		}
	}
	if g.isRefused(guessing, start) {
		t.Error("refused")
	}
	now := g.obeyed(t, guessing, start, 50)
	if now == start {
		t.Error("with fewer than one in ten it is not slowed")
	}
	g.served(guessing, 10, now)
	if end := g.obeyed(t, guessing, now.Add(slowInterval), 2); end != now.Add(slowInterval) {
		t.Error("slowed though one in ten was accepted again")
	}
}

// What is spread over time is no guessing.
func TestGuessesAreForgotten(t *testing.T) {
	g := newGuesses(logs.Discard())
	now := start
	for range 20 {
		if end := g.obeyed(t, guessing, now, slowAfter-1); end != now {
			t.Fatal("slowed")
		}
		now = now.Add(guessWindow * time.Minute)
	}
}

// All sessions of a network wait in one line, which is bounded.
func TestLineOfGuessersIsBounded(t *testing.T) {
	g := newGuesses(logs.Discard())
	g.obeyed(t, guessing, start, slowAfter)
	longest := time.Duration(0)
	for range 10_000 {
		wait, _ := g.turn(guessing, start)
		longest = max(longest, wait)
	}
	if longest != slowPatience {
		t.Errorf("the last waits %v", longest)
	}
	if _, ok := g.turn(guessing, start); ok {
		t.Error("who would wait longer is taken in")
	}
}

// A /48 is slowed as four clients are, and not as 65,536.
func TestGuessersOfASite(t *testing.T) {
	g := newGuesses(logs.Discard())
	now := start
	for i := range 8 * slowAfter {
		now = g.obeyed(t, netip.MustParseAddr(fmt.Sprintf("2001:db8:7:%x::1", i%256)), now, 1)
		if i < 4*slowAfter && now != start {
			t.Fatalf("slowed after %d", i)
		}
	}
	if took := now.Sub(start); took < (4*slowAfter-1)*slowInterval/4 {
		t.Errorf("in %v", took)
	}
	if wait, _ := g.turn(netip.MustParseAddr("2001:db8:8::1"), now); wait != 0 {
		t.Errorf("another site waits %v", wait)
	}
}

func TestGuessesTakeBoundedMemory(t *testing.T) {
	g := newGuesses(logs.Discard())
	a := netip.MustParseAddr("10.0.0.0")
	for range 5 * guesserEntries {
		g.guessed(a, start)
		a = a.Next()
	}
	if n := g.networks.Len(); n > 2*guesserEntries {
		t.Errorf("%d networks", n)
	}
}
