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
	maxReplies     = 4 << 10 // gathered before they are sent
)

// Conn is a connection with its session: lines in, gathered replies out, deadlines.
// It is used by one goroutine at a time.
type Conn struct {
	stream   net.Conn     // base, or *tls.Conn above it
	base     *listen.Conn // deadlines and the end of life
	server   *Server
	settings Settings
	session  Session

	tls      string // version and suite; empty without TLS
	extended bool   // the client said EHLO
	helo     string // what it called itself there

	in  *bufio.Reader
	out wire.Output

	command Command // at hand
	chunked bool    // the content at hand comes by BDAT
	chunk   int64   // octets of the chunk still to come
	last    bool    // it is the last chunk

	started time.Time // of the content
	octets  int64     // of the content, as read
	counted int64     // octets when the clock of its silence last began
	heard   time.Time // when that was
	yielded atomic.Bool

	why    string // we end the connection with; empty: we do not
	broken bool   // the connection failed: content that ends now is not whole
	hangUp bool   // the connection ends after the replies at hand
	closed bool
}

func newConn(s *Server, base *listen.Conn, settings Settings) *Conn {
	c := &Conn{stream: base, base: base, server: s, settings: settings}
	c.speakOver(base, s.writers)
	c.session = s.config.Open(c)
	return c
}

// Client is the peer's address.
func (c *Conn) Client() netip.Addr { return c.base.Client() }

// Trusted reports whether the client is in a network that is trusted: no guess is held
// against it.
func (c *Conn) Trusted() bool { return c.base.Trusted() }

// Networks are those in which the client counts.
func (c *Conn) Networks() []netip.Prefix { return c.base.Networks() }

// Yield has the content at hand end, and the connection with it: others need what it
// holds. It may be called beside all else.
func (c *Conn) Yield() {
	c.yielded.Store(true) // before the deadline, which the session sets before it looks
	c.base.SetReadDeadline(time.Unix(1, 0))
}

// Helo is what the client calls itself, any octets; empty before EHLO or HELO.
func (c *Conn) Helo() string { return c.helo }

// Probe reports whether a proxy has connected for itself, to see that we are there.
func (c *Conn) Probe() bool { return c.base.Probe() }

// Extended reports whether the client said EHLO.
func (c *Conn) Extended() bool { return c.extended }

// TLS names version and cipher suite; it is empty without TLS.
func (c *Conn) TLS() string { return c.tls }

// speakOver makes stream what commands come from and replies go to. What was read from
// the former one and not obeyed yet is thrown away.
func (c *Conn) speakOver(stream net.Conn, writers *wire.Writers) {
	c.stream = stream
	c.out = wire.Output{Writers: writers, To: patient{c}}
	in := &wire.Input{From: stream, Out: &c.out}
	if c.in == nil {
		c.in = bufio.NewReaderSize(in, inputBuffer)
	}
	c.in.Reset(in)
}

// patient writes replies, each within the time that one has to leave.
type patient struct{ c *Conn }

func (p patient) Write(b []byte) (int, error) {
	p.c.base.Saying(p.c.settings.CommandTimeout)
	defer p.c.base.Said()
	return p.c.stream.Write(b)
}

// readCommand returns the next line with its end. An error ends the
// connection, and has been answered where there is an answer.
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

// lineBuffered reports whether a whole command is here already.
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

// refuse answers the command at hand with a refusal of our own.
func (c *Conn) refuse(r refusal.Reason) { c.say(c.refused(refusal.New(r, ""), "")) }

// refused tells the session of a refusal on its way out, and returns the line to
// send. keep is a line that is better than ours, where the session does not end.
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

// Flush sends the replies that were gathered, where the one to the command at hand will
// be some time. What goes wrong the next read tells.
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

// close ends the connection, once: go-smtp does so at QUIT, reads on, and does so
// again. What came behind QUIT is not obeyed.
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
