package library

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"mailsrv/internal/listen"
	"mailsrv/internal/refusal"
	"mailsrv/internal/wire"
)

const (
	inputBuffer    = 8 << 10
	maxCommand     = 2 << 10 // octets with CRLF; RFC 5321 section 4.5.3.1.4 asks for 512
	maxLongCommand = 64 << 10
	maxReplies     = 4 << 10 // octets gathered before they are sent
)

// Conn is a connection with its session. It reads lines, gathers replies and sets
// deadlines. Except for [Conn.Yield] it is used by one goroutine at a time.
type Conn struct {
	stream   net.Conn     // base, or *tls.Conn above it
	base     *listen.Conn // for deadlines and draining
	server   *Server
	settings Settings
	session  Session

	tls      string // version and suite; empty without TLS
	extended bool   // the client said EHLO
	helo     string // the name it gave in EHLO or HELO

	in  *bufio.Reader
	out wire.Output

	command Command // the current one
	chunked bool    // the current content comes by BDAT
	chunk   int64   // octets of the chunk still to come
	last    bool    // it is the last chunk

	started time.Time // when the content began
	octets  int64     // of the content, as read
	counted int64     // value of octets at heard; -1: no wait has begun
	heard   time.Time // when the measuring of silence last began
	yielded atomic.Bool

	why    string // text of the reply with which we end the connection; empty: we do not
	broken bool   // the connection failed: content that ends now is not whole
	hangUp bool   // the connection ends after the gathered replies
	closed bool
}

func newConn(s *Server, base *listen.Conn, settings Settings) *Conn {
	c := &Conn{stream: base, base: base, server: s, settings: settings}
	c.speakOver(base, s.writers)
	c.session = s.config.Open(c)
	return c
}

// Client returns the client's address.
func (c *Conn) Client() netip.Addr { return c.base.Client() }

// Trusted reports whether the client is in a trusted network, see [listen.Conn.Trusted].
func (c *Conn) Trusted() bool { return c.base.Trusted() }

// Networks returns the networks in which the client counts.
func (c *Conn) Networks() []netip.Prefix { return c.base.Networks() }

// Yield ends the current content and the connection, because others need the memory that
// the content holds. It is safe for concurrent use and returns at once.
func (c *Conn) Yield() {
	c.yielded.Store(true) // before the deadline, which the session sets before it looks
	c.base.SetReadDeadline(time.Unix(1, 0))
}

// Helo returns the name that the client gave in EHLO or HELO, which may hold any octets. It
// is empty before that.
func (c *Conn) Helo() string { return c.helo }

// Probe reports whether the connection is a health check of a proxy.
func (c *Conn) Probe() bool { return c.base.Probe() }

// Extended reports whether the client said EHLO.
func (c *Conn) Extended() bool { return c.extended }

// TLS returns the TLS version and cipher suite; it is empty without TLS.
func (c *Conn) TLS() string { return c.tls }

// speakOver makes stream the source of commands and the target of replies. What was read
// from the former stream and not obeyed yet is thrown away.
func (c *Conn) speakOver(stream net.Conn, writers *wire.Writers) {
	c.stream = stream
	c.out = wire.Output{Writers: writers, To: patient{c}}
	in := &wire.Input{From: stream, Out: &c.out}
	if c.in == nil {
		c.in = bufio.NewReaderSize(in, inputBuffer)
	}
	c.in.Reset(in)
}

// patient writes replies, each within the CommandTimeout.
type patient struct{ c *Conn }

func (p patient) Write(b []byte) (int, error) {
	p.c.base.Saying(p.c.settings.CommandTimeout)
	defer p.c.base.Said()
	return p.c.stream.Write(b)
}

// readCommand returns the next line with its end. An error ends the connection; where a
// reply is due, readCommand has sent it.
func (c *Conn) readCommand() ([]byte, error) {
	for {
		line, err := c.readLine()
		switch {
		case err == nil:
			return line, nil
		case errors.Is(err, wire.ErrTooLong), errors.Is(err, wire.ErrEndless):
			c.command = Command{}
			c.refuse(refusal.LineTooLong)
			if errors.Is(err, wire.ErrEndless) {
				return nil, c.end("")
			}
		case c.base.Ended():
			return nil, c.end(replyEnded)
		case c.drained(err):
			return nil, c.end(replyDraining)
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, c.end(replyIdle)
		default:
			return nil, c.end("")
		}
	}
}

// readLine returns the next line.
func (c *Conn) readLine() ([]byte, error) {
	if c.hangUp {
		return nil, io.EOF
	}
	if !c.lineBuffered() {
		if err := c.base.AwaitCommand(c.settings.CommandTimeout); err != nil {
			return nil, err
		}
	}
	defer c.base.Working()
	return wire.ReadLine(c.in, func([]byte) int { return maxCommand }, maxLongCommand)
}

// drained reports whether a wait failed because the server shuts down.
func (c *Conn) drained(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) && c.base.Draining() || errors.Is(err, listen.ErrDraining)
}

// lineBuffered reports whether a whole command has been read already.
func (c *Conn) lineBuffered() bool {
	ahead, _ := c.in.Peek(c.in.Buffered())
	return bytes.IndexByte(ahead, '\n') >= 0
}

// end sends a last reply and makes go-smtp see the end of the connection.
func (c *Conn) end(reply string) error {
	if reply != "" {
		c.why = replyText(reply)
	}
	c.say(reply)
	c.flush()
	c.broken = true
	return io.EOF
}

// refuse answers the current command with a refusal of our own.
func (c *Conn) refuse(r refusal.Reason) { c.say(c.refused(refusal.New(r, ""), "")) }

// refused reports a refusal to the session before it is sent, and returns the line to
// send. keep, if not empty, is sent in place of our own line unless the session ends the
// connection.
func (c *Conn) refused(no *refusal.Refusal, keep string) string {
	if no.Detail == "" && keep != "" {
		no = refusal.New(no.Reason, "%s", replyText(keep))
	}
	reason := c.session.Refused(c.command, no)
	reply := reason.Reply(c.server.config.Hostname)
	if reply.Code == 421 && reason != no.Reason {
		c.hangUp, c.why = true, reply.Text
		return reply.Line()
	}
	if keep != "" {
		return keep
	}
	return reply.Line()
}

// say gathers whole lines of a reply.
func (c *Conn) say(lines string) { c.out.Buffer().WriteString(lines) }

// Flush sends the gathered replies now. A session calls it before a long wait. The next
// read returns the error, if there is one.
func (c *Conn) Flush() { c.flush() }

// flush sends what was gathered. An error ends the connection: go-smtp, which
// ignores it, would go on to obey and never answer again.
func (c *Conn) flush() error {
	if c.broken {
		return net.ErrClosed
	}
	err := c.out.Flush()
	c.broken = err != nil
	return err
}

// close ends the connection once: at QUIT go-smtp closes, reads on, and closes again.
// Commands behind QUIT are not obeyed.
func (c *Conn) close() error {
	if c.closed {
		return nil
	}
	c.closed = true
	c.session.Close(c.why)
	c.base.CloseFollows()
	c.flush()
	c.broken = true
	return c.stream.Close()
}
