// Package listen has what every daemon needs below its protocol: listeners, limits on
// connections in all and per client, TLS certificates and their reload, and the draining
// of connections at shutdown. It speaks no mail protocol.
package listen

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
)

// ErrDraining is returned by [Conn.AwaitCommand] when the server is shutting down or
// [Group.End] has ended the session.
var ErrDraining = errors.New("server is shutting down")

// Limits bound the connections of one daemon. A number of 0 sets no limit.
type Limits struct {
	Connections int // in all
	PerClient   int // per network that a client counts in, see [Networks]
	// Proxies are the networks whose connections begin with a header of the PROXY
	// protocol, which names the client.
	Proxies []netip.Prefix
	// Trusted are the networks whose clients are trusted, see [Conn.Trusted].
	Trusted []netip.Prefix
}

// Group holds the listeners and connections of one daemon. Its owner calls [Group.Drain]
// at the end. All methods are safe for concurrent use.
type Group struct {
	name   string // of the protocol, for the log
	busy   string // line sent to a client that a limit refuses
	logger *slog.Logger

	mu        sync.Mutex
	limits    Limits
	listeners []net.Listener
	conns     map[*Conn]struct{}
	perClient map[netip.Prefix]int
	last      uint64 // id of the latest connection
	draining  bool
	begun     chan struct{} // closed when draining begins
	empty     chan struct{} // closed when draining and no connection is left
	handlers  sync.WaitGroup
}

// NewGroup returns a group without listeners. name is the protocol's, for the log. busy is
// a whole line with its CRLF: it is sent to a client that a limit refuses, before its
// connection is closed.
func NewGroup(name, busy string, limits Limits, logger *slog.Logger) *Group {
	return &Group{
		name: name, busy: busy, logger: logger, limits: limits,
		conns: map[*Conn]struct{}{}, perClient: map[netip.Prefix]int{},
		begun: make(chan struct{}), empty: make(chan struct{}),
	}
}

// SetLimits replaces the limits for connections that come later.
func (g *Group) SetLimits(l Limits) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limits = l
}

// Open returns the number of open connections.
func (g *Group) Open() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.conns)
}

// Wait returns once every handle function that [Group.Serve] started has returned. It may
// be called only after [Group.Drain].
func (g *Group) Wait() { g.handlers.Wait() }

// Drain stops accepting and wakes the connections that wait for a command: their read
// fails with a timeout, and [Conn.AwaitCommand] returns [ErrDraining] from then on. Drain
// waits until all connections are closed. If ctx ends first, it closes the rest and
// returns ctx's error.
func (g *Group) Drain(ctx context.Context) error {
	g.mu.Lock()
	if !g.draining {
		g.draining = true
		close(g.begun)
		for _, l := range g.listeners {
			l.Close()
		}
		if len(g.conns) == 0 {
			close(g.empty)
		}
	}
	waiting := g.snapshot()
	g.mu.Unlock()
	for _, c := range waiting {
		c.wake()
	}
	select {
	case <-g.empty:
		return nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	rest := g.snapshot()
	g.mu.Unlock()
	for _, c := range rest {
		c.Close()
	}
	return ctx.Err()
}

func (g *Group) snapshot() []*Conn {
	all := make([]*Conn, 0, len(g.conns))
	for c := range g.conns {
		all = append(all, c)
	}
	return all
}

// admit counts a connection, or returns which limit refuses it.
func (g *Group) admit(c *Conn) (refusal string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.draining:
		return "shutting down"
	case g.limits.Connections > 0 && len(g.conns) >= g.limits.Connections:
		return "too many connections"
	}
	if !c.proxied {
		if refusal := g.count(c); refusal != "" {
			return refusal
		}
	}
	g.last++
	c.id = g.last
	g.conns[c] = struct{}{}
	g.handlers.Add(1) // before draining begins, after which Wait may be called
	return ""
}

// admitClient counts a connection, which was admitted before, for its client.
func (g *Group) admitClient(c *Conn) (refusal string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.count(c)
}

// count counts a connection in all networks of its client. If a limit refuses it, it is
// counted in none.
func (g *Group) count(c *Conn) (refusal string) {
	networks := Networks(c.client)
	for _, n := range networks {
		if most := g.limits.PerClient * n.Share; most > 0 && g.perClient[n.Network] >= most {
			return "too many connections from this client"
		}
	}
	for _, n := range networks {
		g.perClient[n.Network]++
	}
	c.networks = networks
	return ""
}

// isProxy reports whether an address is that of a proxy.
func (g *Group) isProxy(a netip.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return within(g.limits.Proxies, a)
}

// isTrusted reports whether a client is in a trusted network. A proxy's claim that its
// client is on this machine is not believed.
func (g *Group) isTrusted(c *Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return (!c.proxied || !c.client.IsLoopback()) && within(g.limits.Trusted, c.client)
}

func within(networks []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(a) })
}

func (g *Group) release(c *Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, counted := g.conns[c]; !counted {
		return
	}
	delete(g.conns, c)
	for _, n := range c.networks {
		if g.perClient[n.Network]--; g.perClient[n.Network] == 0 {
			delete(g.perClient, n.Network)
		}
	}
	if g.draining && len(g.conns) == 0 {
		close(g.empty)
	}
}

// TCP listens on a TCP address. The caller closes the listener. Its connections have
// keep-alive probes: three, after 30 s of silence, so that a peer that vanished loses its
// claim on the maildrop after two minutes at the latest.
func TCP(ctx context.Context, address string) (net.Listener, error) {
	config := listenConfig()
	config.SetMultipathTCP(false) // of no use to mail, and 2 to 3 % of a short session's processor time
	return config.Listen(ctx, "tcp", address)
}

func clientOf(c net.Conn) netip.Addr {
	if tcp, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.IPv4Unspecified()
}
