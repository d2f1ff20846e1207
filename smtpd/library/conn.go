package library

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"mailsrv/internal/listen"
	"mailsrv/internal/refusal"
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
	out []byte // replies not sent yet

	command Command // at hand
	chunked bool    // the content at hand comes by BDAT
	chunk   int64   // octets of the chunk still to come
	last    bool    // it is the last chunk

	started time.Time // of the content
	octets  int64     // of the content, as read

	why    string // we end the connection with; empty: we do not
	broken bool   // the connection failed: content that ends now is not whole
	hangUp bool   // the connection ends after the replies at hand
}

func newConn(s *Server, base *listen.Conn, settings Settings) *Conn {
	c := &Conn{stream: base, base: base, server: s, settings: settings}
	c.in = bufio.NewReaderSize(transport{c}, inputBuffer)
	c.session = s.config.Open(c)
	return c
}

// Client is the peer's address.
func (c *Conn) Client() netip.Addr { return c.base.Client() }

// Helo is what the client calls itself, any octets; empty before EHLO or HELO.
func (c *Conn) Helo() string { return c.helo }

// Probe reports whether a proxy has connected for itself, to see that we are there.
func (c *Conn) Probe() bool { return c.base.Probe() }

// Extended reports whether the client said EHLO.
func (c *Conn) Extended() bool { return c.extended }

// TLS names version and cipher suite; it is empty without TLS.
func (c *Conn) TLS() string { return c.tls }

// transport is where the input buffer is filled from: what was gathered is
// sent before anything is waited for.
type transport struct{ c *Conn }

func (t transport) Read(p []byte) (int, error) {
	if err := t.c.flush(); err != nil {
		return 0, err
	}
	return t.c.stream.Read(p)
}

// readCommand returns the next line with its end. An error ends the
// connection, and has been answered where there is an answer.
func (c *Conn) readCommand() ([]byte, error) {
	for {
		line, octets, err := c.readLine()
		switch {
		case err == bufio.ErrBufferFull:
			c.command = Command{}
			c.refuse(refusal.LineTooLong)
			return nil, c.end("")
		case err == nil && octets <= maxCommand:
			return line, nil
		case err == nil:
			c.command = Command{}
			c.refuse(refusal.LineTooLong)
		case c.base.Ended():
			return nil, c.end(replyEnded)
		case errors.Is(err, os.ErrDeadlineExceeded) && c.base.Draining(), errors.Is(err, listen.ErrDraining):
			return nil, c.end(replyDraining)
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, c.end(replyIdle)
		default:
			return nil, c.end("")
		}
	}
}

// readLine returns the next line, of one that is too long the last part, and how
// many octets it had. bufio.ErrBufferFull: it has no end.
func (c *Conn) readLine() (line []byte, octets int, err error) {
	if c.hangUp {
		return nil, 0, io.EOF
	}
	if !c.lineBuffered() {
		if err := c.base.AwaitCommand(c.settings.CommandTimeout); err != nil {
			return nil, 0, err
		}
	}
	line, err = c.in.ReadSlice('\n')
	c.base.Working()
	for octets = len(line); err == bufio.ErrBufferFull && octets < maxLongCommand; octets += len(line) {
		line, err = c.in.ReadSlice('\n')
	}
	return line, octets, err
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

// say gathers whole lines of a reply, and sends what has been gathered when it
// becomes much.
func (c *Conn) say(lines string) error {
	if c.out = append(c.out, lines...); len(c.out) >= maxReplies {
		return c.flush()
	}
	return nil
}

// flush sends what was gathered. An error ends the connection: go-smtp, which
// ignores it, would go on to obey and never answer again.
func (c *Conn) flush() error {
	switch {
	case c.broken:
		return net.ErrClosed
	case len(c.out) == 0:
		return nil
	}
	c.base.SetWriteDeadline(time.Now().Add(c.settings.CommandTimeout))
	_, err := c.stream.Write(c.out)
	c.out = c.out[:0]
	c.broken = err != nil
	return err
}

// close ends the connection.
func (c *Conn) close() error {
	c.session.Close(c.why)
	c.base.CloseFollows()
	c.flush()
	return c.stream.Close()
}
