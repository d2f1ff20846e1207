package smtpd

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"mailsrv/internal/listen"
	"mailsrv/internal/logs"
)

const (
	inputBuffer    = 8 << 10
	maxCommand     = 2 << 10 // octets with CRLF; RFC 5321 section 4.5.3.1.4 asks for 512
	maxLongCommand = 64 << 10
	maxReplies     = 4 << 10 // gathered before they are sent
	tlsHandshake   = 30 * time.Second
)

// conn is a connection as go-smtp sees it. It reads ahead of the library and
// hands it one command at a time, or the octets of one chunk, so that it
// always knows what the octets are. Of DATA the library sees only the end: the
// session reads the content from conn itself.
//
// It is used by the library's goroutine for the connection, apart from broken
// and hangUp.
type conn struct {
	net.Conn              // *listen.Conn, or *tls.Conn above it
	base     *listen.Conn // deadlines and the end of life
	server   *Server
	engine   *engine
	settings Settings
	tls      string // version and suite; empty without TLS

	in      *bufio.Reader
	out     []byte    // replies not sent yet
	feed    []byte    // what the library reads next
	chunk   int64     // octets of a BDAT chunk still to come
	started time.Time // of the content
	octets  int64     // of the content

	extended       bool // the client said EHLO
	barePostmaster bool // the RCPT at work named no domain
	muteGreeting   bool // the library's first line is not sent
	handed         bool // the connection now belongs to the conn above TLS

	// broken: the connection failed; content that ends now is not whole.
	broken atomic.Bool
	// hangUp: the connection ends after the replies at hand.
	hangUp atomic.Bool
}

func newConn(s *Server, e *engine, base *listen.Conn) *conn {
	c := &conn{Conn: base, base: base, server: s, engine: e, settings: *s.settings.Load()}
	c.in = bufio.NewReaderSize(transport{c}, inputBuffer)
	return c
}

// transport is where the input buffer is filled from: what was gathered is
// sent before anything is waited for.
type transport struct{ c *conn }

func (t transport) Read(p []byte) (int, error) {
	if err := t.c.flush(); err != nil {
		return 0, err
	}
	return t.c.Conn.Read(p)
}

// Read implements net.Conn for the library.
func (c *conn) Read(p []byte) (int, error) {
	switch {
	case len(c.feed) > 0:
		n := copy(p, c.feed)
		c.feed = c.feed[n:]
		return n, nil
	case c.broken.Load():
		return 0, io.EOF
	case c.chunk > 0:
		return c.readChunk(p)
	}
	for {
		line, err := c.readCommand()
		if err != nil {
			return 0, err
		}
		if line = c.inspect(line); len(line) > 0 {
			n := copy(p, line)
			c.feed = append([]byte(nil), line[n:]...)
			return n, nil
		}
		if c.handed {
			return 0, io.EOF
		}
	}
}

// readCommand returns the next line with its end. An error ends the
// connection, and has been answered where there is an answer.
func (c *conn) readCommand() ([]byte, error) {
	if c.hangUp.Load() {
		return nil, c.end("")
	}
	if !c.lineBuffered() {
		if err := c.base.AwaitCommand(c.settings.CommandTimeout); err != nil {
			return nil, c.end(replyDraining)
		}
	}
	line, err := c.in.ReadSlice('\n')
	c.base.Working()
	long := 0
	for err == bufio.ErrBufferFull && long < maxLongCommand {
		long += len(line)
		line, err = c.in.ReadSlice('\n')
	}
	switch {
	case err == nil && long+len(line) > maxCommand:
		c.Write([]byte(replyLongLine))
		return c.readCommand()
	case err == nil:
		return line, nil
	case err == bufio.ErrBufferFull:
		return nil, c.end(replyLongLine)
	case errors.Is(err, os.ErrDeadlineExceeded) && c.base.Draining():
		return nil, c.end(replyDraining)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, c.end(replyIdle)
	}
	return nil, c.end("")
}

// lineBuffered reports whether a whole command is here already.
func (c *conn) lineBuffered() bool {
	ahead, _ := c.in.Peek(c.in.Buffered())
	return bytes.IndexByte(ahead, '\n') >= 0
}

// end sends a last reply and makes the library see the end of the connection.
func (c *conn) end(reply string) error {
	c.out = append(c.out, reply...)
	c.flush()
	c.broken.Store(true)
	return io.EOF
}

// inspect looks at a command before the library does. It returns the line to
// hand over, or nothing when the command has been dealt with.
func (c *conn) inspect(line []byte) []byte {
	text := strings.TrimRight(string(line), "\r\n")
	verb, argument, _ := strings.Cut(text, " ")
	argument = strings.TrimSpace(argument)
	switch strings.ToUpper(verb) {
	case "EHLO":
		c.extended = true
	case "HELO":
		c.extended = false
	case "MAIL":
		return []byte(clampSize(text) + "\r\n")
	case "RCPT":
		// RFC 5321 section 4.5.1: <Postmaster> needs no domain. The library's
		// grammar does; the session replaces what is added here.
		c.barePostmaster = strings.EqualFold(strings.ReplaceAll(argument, " ", ""), "TO:<postmaster>")
		if c.barePostmaster {
			return []byte("RCPT TO:<postmaster@" + c.server.config.Hostname + ">\r\n")
		}
	case "BDAT":
		c.beginChunk(argument)
	default:
		if len(text) >= 8 && strings.EqualFold(text[:8], "STARTTLS") {
			c.startTLS(text)
			return nil
		}
	}
	return line
}

// clampSize brings a SIZE= that 32 bits cannot hold, which the library takes
// for a syntax error, down to one that it refuses as too large.
func clampSize(mail string) string {
	words := strings.Fields(mail)
	for i, word := range words {
		if len(word) < 5+10 || !strings.EqualFold(word[:5], "SIZE=") || strings.Trim(word[5:], "0123456789") != "" {
			continue
		}
		if _, err := strconv.ParseUint(word[5:], 10, 32); err != nil {
			words[i] = "SIZE=4294967295"
			return strings.Join(words, " ")
		}
	}
	return mail
}

// beginChunk notes how many octets follow a BDAT. Where the number cannot be
// read nobody knows what is content and what is a command: the connection ends
// after the reply (RFC 3030 section 2).
func (c *conn) beginChunk(argument string) {
	words := strings.Fields(argument)
	if len(words) == 0 || len(words) > 2 || len(words) == 2 && !strings.EqualFold(words[1], "LAST") {
		c.hangUp.Store(true)
		return
	}
	size, err := strconv.ParseUint(words[0], 10, 32)
	if err != nil {
		c.hangUp.Store(true)
		return
	}
	c.chunk = int64(size)
	c.beginContent()
}

// beginContent starts the clock of the least rate.
func (c *conn) beginContent() {
	c.started, c.octets = time.Now(), 0
}

// readChunk hands over octets of a chunk. When the connection fails, the
// library takes the end for the chunk's; broken tells the session otherwise.
func (c *conn) readChunk(p []byte) (int, error) {
	if int64(len(p)) > c.chunk {
		p = p[:c.chunk]
	}
	if err := c.awaitContent(); err != nil {
		return 0, io.EOF
	}
	n, err := c.in.Read(p)
	c.chunk -= int64(n)
	c.octets += int64(n)
	if err != nil {
		c.contentFailed(err)
		return n, io.EOF
	}
	return n, nil
}

// awaitContent sets the deadline for the next octets of the content, if they
// are not here yet. An error has ended the connection.
func (c *conn) awaitContent() error {
	if c.in.Buffered() > 0 {
		return nil
	}
	now := time.Now()
	if took := now.Sub(c.started); took > RateGrace && float64(c.octets) < took.Seconds()*float64(c.settings.MinRate) {
		return c.contentFailed(os.ErrDeadlineExceeded)
	}
	return c.base.SetReadDeadline(now.Add(c.settings.DataIdleTimeout))
}

// contentFailed ends the connection in the middle of content: what follows
// must never be read as commands.
func (c *conn) contentFailed(err error) error {
	reply := ""
	if errors.Is(err, os.ErrDeadlineExceeded) {
		reply = replyTooSlow
	}
	c.end(reply)
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// contentEnded makes the library see the end of DATA, whose content the
// session has read.
func (c *conn) contentEnded() { c.feed = []byte(".\r\n") }

// Write gathers replies until the next read.
func (c *conn) Write(p []byte) (int, error) {
	if c.muteGreeting {
		c.muteGreeting = false
		return len(p), nil
	}
	if c.broken.Load() {
		return len(p), nil // the last word has been said
	}
	c.out = append(c.out, p...)
	if len(c.out) >= maxReplies {
		if err := c.flush(); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func (c *conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	c.base.SetWriteDeadline(time.Now().Add(c.settings.CommandTimeout))
	_, err := c.Conn.Write(c.out)
	c.out = c.out[:0]
	return err
}

// startTLS obeys STARTTLS in the library's place, which would put TLS between
// itself and conn. What the client sent behind the command is thrown away: it
// was not protected (RFC 3207 section 4.2). The connection above TLS goes to
// the library anew.
func (c *conn) startTLS(text string) {
	switch {
	case len(text) > 8:
		c.Write([]byte(replyNoParameters))
		return
	case c.tls != "":
		c.Write([]byte(replyTLSActive))
		return
	}
	c.Write([]byte(replyStartTLS))
	c.in.Discard(c.in.Buffered())
	if c.flush() != nil {
		c.end("")
		return
	}
	secure := tls.Server(c.base, c.server.config.TLS)
	ctx, cancel := context.WithTimeout(context.Background(), tlsHandshake)
	defer cancel()
	c.base.SetDeadline(time.Now().Add(tlsHandshake))
	if err := secure.HandshakeContext(ctx); err != nil {
		c.server.config.Logger.Info(logs.Refused, logs.Proto, "smtp", logs.Client, c.base.Client(),
			logs.Reason, "TLS handshake", logs.Error, err)
		c.end("")
		return
	}
	c.base.SetDeadline(time.Time{})
	above := newConn(c.server, c.engine, c.base)
	above.Conn = secure
	above.tls = tlsText(secure.ConnectionState())
	above.muteGreeting = true // RFC 3207 section 4.2: no second greeting
	c.handed = true
	c.engine.secure.hand(above)
}

func tlsText(s tls.ConnectionState) string {
	return strings.ReplaceAll(tls.VersionName(s.Version), " ", "") + " " + tls.CipherSuiteName(s.CipherSuite)
}

// Close implements net.Conn.
func (c *conn) Close() error {
	if c.handed {
		return nil
	}
	c.flush()
	return c.Conn.Close()
}
