package listen

import (
	"fmt"
	"net"
	"runtime/debug"
	"time"

	"mailsrv/internal/logs"
)

// Serve accepts connections from l until the group drains, and then returns nil. It
// returns l's error if accepting fails for good. It closes l. Each connection within the
// limits goes to handle in a goroutine of its own. handle must close it: [Group.Drain]
// waits for that. A panic in handle ends only its own connection.
func (g *Group) Serve(l net.Listener, handle func(*Conn)) error {
	defer l.Close()
	if !g.adopt(l) {
		return nil
	}
	for pause := time.Duration(0); ; {
		raw, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			g.enter(raw, handle)
		case g.isDraining():
			return nil
		case !isTemporary(err):
			return err
		default: // out of file descriptors, as a rule: some will come free
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			g.logger.Warn(logs.Warning, logs.Proto, g.name, logs.Error, err)
			select {
			case <-time.After(pause):
			case <-g.begun:
			}
		}
	}
}

// adopt makes the group close l when it drains. It returns false if draining has begun.
func (g *Group) adopt(l net.Listener) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.draining {
		g.listeners = append(g.listeners, l)
	}
	return !g.draining
}

func (g *Group) isDraining() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.draining
}

func isTemporary(err error) bool {
	t, ok := err.(interface{ Temporary() bool })
	return ok && t.Temporary()
}

// enter counts a connection and starts its handling.
func (g *Group) enter(raw net.Conn, handle func(*Conn)) {
	peer := clientOf(raw)
	c := &Conn{Conn: raw, group: g, client: peer, since: time.Now(), proxied: g.isProxy(peer)}
	if refusal := g.admit(c); refusal != "" {
		g.turnAway(c, refusal)
		raw.Close()
		return
	}
	go func() {
		defer g.handlers.Done()
		defer func() {
			if p := recover(); p != nil {
				g.logger.Error(logs.Failed, logs.Proto, g.name, logs.Client, c.client, logs.Error, fmt.Sprintf("panic: %v\n%s", p, debug.Stack()))
				c.Close()
			}
		}()
		if c.proxied && !g.introduce(c) {
			c.Close()
			return
		}
		c.trusted = g.isTrusted(c)
		c.mu.Lock()
		c.known = c.client
		c.mu.Unlock()
		handle(c)
	}()
}

// introduce reads from a proxy who the client is, and reports whether it may enter. It
// runs in the connection's own goroutine: a silent proxy holds up nobody else.
func (g *Group) introduce(c *Conn) bool {
	source, err := c.readProxyHeader()
	if err != nil {
		g.logger.Info(logs.ConnectRefused, logs.Proto, g.name, logs.Client, c.client, logs.Reason, "no PROXY header", logs.Error, err)
		return false
	}
	if source.IsValid() {
		c.client = source
	} else {
		c.probe = true
	}
	if refusal := g.admitClient(c); refusal != "" {
		g.turnAway(c, refusal)
		return false
	}
	return true
}

// turnAway tells a client that a limit refuses it, and logs which.
func (g *Group) turnAway(c *Conn, refusal string) {
	g.logger.Info(logs.ConnectRefused, logs.Proto, g.name, logs.Client, c.client, logs.Reason, refusal)
	// The line fits the empty send buffer, so this cannot block.
	c.Conn.SetWriteDeadline(time.Now().Add(time.Second))
	c.Conn.Write([]byte(g.busy))
}
