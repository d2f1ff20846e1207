// Package listen is the ground every daemon stands on: listeners, limits on
// connections in all and per client, TLS and its reload, and the end of a
// connection's life when the server drains. It speaks no protocol.
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

// ErrDraining ends the wait for a command when the server is shutting down.
var ErrDraining = errors.New("server is shutting down")

// Limits bound the connections of one daemon; 0 is no limit.
type Limits struct {
	Connections int // in all
	PerClient   int // per network that a client counts in, see Networks
	// Proxies are the networks whose connections begin with a header of the PROXY
	// protocol, which names the client.
	Proxies []netip.Prefix
	// Trusted are the networks whose clients are known: see Conn.Trusted.
	Trusted []netip.Prefix
}

// Group is the listeners and connections of one daemon. Its owner calls Drain
// at the end.
type Group struct {
	name   string // of the protocol, for the log
	busy   string // line sent to whom a limit refuses
	logger *slog.Logger

	mu        sync.Mutex
	limits    Limits
	listeners []net.Listener
	conns     map[*Conn]struct{}
	perClient map[netip.Prefix]int
	last      uint64 // id of a connection
	draining  bool
	begun     chan struct{} // closed when draining
	empty     chan struct{} // closed when draining and no connection is left
	handlers  sync.WaitGroup
}

// NewGroup makes a group without listeners. busy is sent, with its CRLF, to a
// client that a limit refuses before its connection is closed.
func NewGroup(name, busy string, limits Limits, logger *slog.Logger) *Group {
	return &Group{
		name: name, busy: busy, logger: logger, limits: limits,
		conns: map[*Conn]struct{}{}, perClient: map[netip.Prefix]int{},
		begun: make(chan struct{}), empty: make(chan struct{}),
	}
}

// SetLimits changes the limits for connections to come.
func (g *Group) SetLimits(l Limits) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limits = l
}

// Open returns how many connections are open.
func (g *Group) Open() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.conns)
}

// Wait returns when every handle that Serve has called has returned. It is called
// after Drain.
func (g *Group) Wait() { g.handlers.Wait() }

// Drain stops accepting, wakes the connections that wait for a command (their
// AwaitCommand returns ErrDraining), and waits until all are closed. When ctx
// ends first, the rest are closed and its error is returned.
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

// admit counts a connection, or says which limit refuses it.
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

// admitClient counts a connection that is in already for its client.
func (g *Group) admitClient(c *Conn) (refusal string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.count(c)
}

// count counts a connection in all networks of its client, or in none.
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

// isTrusted reports whether a client is in a trusted network. The word of a proxy that it
// is on this machine is none.
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

// TCP opens a port. Its connections find out about peers that vanished without a
// word: asked for a sign of life after 30 s of silence, three times, a dead one frees
// its claim on the maildrop after two minutes at the latest.
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
