package smtpd

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"mailsrv/internal/bounded"
	"mailsrv/internal/listen"
	"mailsrv/internal/logs"
	"mailsrv/internal/refusal"
	"mailsrv/smtpd/library"
)

// Bounds on the guesses of one client network, of all its sessions together.
const (
	guessWindow  = 10   // minutes in which guesses and recipients served are counted
	slowAfter    = 100  // guesses in the window: the network's RCPTs are slowed
	refuseAfter  = 1000 // guesses, those that led to the slowing included: its connections are refused
	refuseFor    = 10 * time.Minute
	slowInterval = time.Second // between two RCPTs
	slowPatience = time.Minute // the longest wait; a RCPT with a longer one is refused for now
	guessEvery   = time.Minute // between two log lines on a network's refused connections

	guesserEntries = 10_000
)

// guesses remembers, from one session to the next, which networks guess our addresses: they
// name unknown recipients, or send what is no mail at all, and few of their messages are
// accepted. A network is never held up if one in ten of its recipients gets a message: that
// is a badly kept list, not a guesser. The table is bounded, forgets after ten minutes, and
// is lost at a restart. All methods are safe for concurrent use.
type guesses struct {
	logger *slog.Logger

	mu       sync.Mutex
	networks *bounded.Table[netip.Prefix, *guesser]
}

func newGuesses(logger *slog.Logger) *guesses {
	return &guesses{logger: logger, networks: bounded.NewTable[netip.Prefix, *guesser](guesserEntries)}
}

// guesser is what is known of one network.
type guesser struct {
	latest  int64 // minute, since 1970, of the last count
	minutes [guessWindow]struct{ guesses, served int32 }
	spree   int       // guesses since it is slowed, and those that led to it; 0: it is not slowed
	next    time.Time // when its next RCPT may be obeyed
	until   time.Time // its connections are refused until then
	told    time.Time // when a refused connection was last logged
	refused int       // connections refused since then
}

// of returns what is known of a network, with its minutes moved on to now.
func (g *guesses) of(network netip.Prefix, now time.Time) *guesser {
	known, ok := g.networks.Get(network)
	if !ok {
		known = &guesser{}
		g.networks.Put(network, known)
	}
	minute := now.Unix() / 60
	for range min(minute-known.latest, guessWindow) {
		known.latest++
		known.minutes[known.latest%guessWindow] = struct{ guesses, served int32 }{}
	}
	known.latest = max(known.latest, minute)
	return known
}

// totals returns the guesses and the recipients served in the window.
func (g *guesser) totals() (guesses, served int) {
	for _, m := range g.minutes {
		guesses += int(m.guesses)
		served += int(m.served)
	}
	return guesses, served
}

// isSlowed reports whether the RCPTs of a network are slowed. share is its
// [listen.Counted.Share].
func (g *guesser) isSlowed(share int) bool {
	guesses, served := g.totals()
	return guesses >= slowAfter*share && 10*served < guesses+served
}

// guessed counts a guess of a client.
func (g *guesses) guessed(client netip.Addr, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, n := range listen.Networks(client) {
		known := g.of(n.Network, now)
		known.minutes[known.latest%guessWindow].guesses++
		switch {
		case !known.isSlowed(n.Share):
			known.spree = 0
			continue
		case known.spree == 0:
			known.spree, _ = known.totals()
			g.tell(n.Network, known.spree, "it guesses recipients: its RCPTs are slowed to one a second")
		default:
			known.spree++
		}
		if known.spree >= refuseAfter*n.Share && !now.Before(known.until) {
			g.tell(n.Network, known.spree, "it goes on guessing recipients: its connections are refused for ten minutes")
			known.until = now.Add(refuseFor)
		}
	}
}

func (g *guesses) tell(network netip.Prefix, refused int, reason string) {
	g.logger.Warn(logs.Warning, logs.Proto, "smtp", logs.Client, network.String(), logs.Refusals, refused, logs.Reason, reason)
}

// served counts recipients that got a message of a client.
func (g *guesses) served(client netip.Addr, recipients int, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, n := range listen.Networks(client) {
		known := g.of(n.Network, now)
		known.minutes[known.latest%guessWindow].served += int32(recipients)
	}
}

// turn returns how long a RCPT of a client has to wait, and reserves that time for it.
// false: the wait would be longer than slowPatience, and nothing is reserved.
func (g *guesses) turn(client netip.Addr, now time.Time) (wait time.Duration, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	type place struct {
		*guesser
		after time.Duration
	}
	var slow []place
	at := now
	for _, n := range listen.Networks(client) {
		known, ok := g.networks.Get(n.Network)
		if !ok || !g.of(n.Network, now).isSlowed(n.Share) {
			continue
		}
		slow = append(slow, place{known, slowInterval / time.Duration(n.Share)})
		if known.next.After(at) {
			at = known.next
		}
	}
	if wait = at.Sub(now); wait > slowPatience {
		return 0, false
	}
	for _, s := range slow {
		s.next = at.Add(s.after)
	}
	return wait, true
}

// refuses reports whether a client's connections are refused now. tell is the number of
// refused connections to log; 0: log nothing.
func (g *guesses) refuses(client netip.Addr, now time.Time) (refused bool, tell int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, n := range listen.Networks(client) {
		known, ok := g.networks.Get(n.Network)
		if !ok || !now.Before(known.until) {
			continue
		}
		known.refused++
		if now.Sub(known.told) >= guessEvery {
			tell, known.refused, known.told = known.refused, 0, now
		}
		return true, tell
	}
	return false, 0
}

// admits reports whether a connection may go on. If its network guesses, it sends a
// temporary reply that rejects no mail for good, and closes the connection.
func (s *Server) admits(c *listen.Conn) bool {
	if c.Trusted() {
		return true
	}
	refused, tell := s.guesses.refuses(c.Client(), time.Now())
	if !refused {
		return true
	}
	if tell > 0 {
		s.config.Logger.Info(logs.ConnectRefused, logs.Proto, "smtp", logs.Client, c.Client(),
			logs.Reason, "its network guesses recipients", logs.Refusals, tell)
	}
	c.Saying(time.Second)
	c.Write([]byte(refusal.TooManyGuesses.Reply("").Line()))
	c.Close()
	return false
}

// guess counts a refusal that may show a guesser.
func (s *session) guess(c library.Command, no refusal.Reason) {
	switch no {
	case refusal.NoMailbox:
		if c.Verb != "RCPT" {
			return // it was there at RCPT
		}
	case refusal.UnknownCommand, refusal.LineTooLong, refusal.TLSFailed:
	default:
		return
	}
	if !s.conn.Trusted() {
		s.server.guesses.guessed(s.conn.Client(), time.Now())
	}
}

// awaitTurn holds a RCPT back while the client's network is slowed. false: the wait would
// be too long. A shutdown ends the wait, and the session after the reply.
func (s *session) awaitTurn() bool {
	if s.conn.Trusted() {
		return true
	}
	wait, ok := s.server.guesses.turn(s.conn.Client(), time.Now())
	if wait > 0 {
		s.conn.Flush() // a client that sent many commands at once gets the first replies now
		waiting, cancel := context.WithTimeout(s.server.serving, wait)
		defer cancel()
		<-waiting.Done()
	}
	return ok
}
