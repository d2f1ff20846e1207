package listen

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// Session is an open connection as an administrator sees it.
type Session struct {
	ID      uint64 // in its group, never given twice
	Client  netip.Addr
	Who     string // see Conn.Know
	TLS     string
	Since   time.Time
	Waiting bool // for the client's next command
}

// Name is the protocol's.
func (g *Group) Name() string { return g.name }

// Sessions lists the open connections, the oldest first.
func (g *Group) Sessions() []Session {
	g.mu.Lock()
	conns := g.snapshot()
	g.mu.Unlock()
	all := make([]Session, 0, len(conns))
	for _, c := range conns {
		c.mu.Lock()
		if c.known.IsValid() {
			all = append(all, Session{ID: c.id, Client: c.known, Who: c.who, TLS: c.tls, Since: c.since, Waiting: c.waiting})
		}
		c.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b Session) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// endWithin is how long a session that is at work may go on after End.
const endWithin = 5 * time.Second

// End ends a session, and reports whether there is one of that id: one that waits for a
// command is told now, another when it has finished the one at work, or is cut off
// after five seconds.
func (g *Group) End(id uint64) bool {
	g.mu.Lock()
	conns := g.snapshot()
	g.mu.Unlock()
	i := slices.IndexFunc(conns, func(c *Conn) bool { return c.id == id })
	if i < 0 {
		return false
	}
	c := conns[i]
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	c.wake()
	time.AfterFunc(endWithin, func() { c.Close() })
	return true
}
