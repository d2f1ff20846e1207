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
	Who     string // see [Conn.Know]
	TLS     string
	Since   time.Time
	Waiting bool // for the client's next command
}

// Name returns the name of the group's protocol.
func (g *Group) Name() string { return g.name }

// Sessions returns the open connections whose client is known, the oldest first.
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

// endWithin is how long a session may go on after End.
const endWithin = 5 * time.Second

// End ends a session, and reports whether there is one with that id. A session that waits
// for a command ends now; one at work ends after its command. After five seconds it is cut
// off.
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
