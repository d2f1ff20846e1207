package smtpd

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"mailsrv/internal/listen"
	"mailsrv/internal/logs"
	"mailsrv/internal/refusal"
)

const (
	inputBuffer    = 8 << 10
	maxCommand     = 2 << 10 // octets with CRLF; RFC 5321 section 4.5.3.1.4 asks for 512
	maxLongCommand = 64 << 10
	maxLongLines   = 10      // longer than maxCommand, between two messages
	maxMistakes    = 3       // what is no command, between two messages
	maxReplies     = 4 << 10 // gathered before they are sent
)

// conn is a connection as go-smtp sees it. It reads ahead of the library and
// hands it one command at a time, so that it always knows what the octets are.
// Content never passes through the library, which sees only its end: the
// session reads it from conn. BDAT becomes DATA for the library, whose own way
// is to read chunks in another goroutine and to take a chunk that was cut off
// for a whole one.
//
// It is used by the library's goroutine for the connection alone.
type conn struct {
	net.Conn              // *listen.Conn, or *tls.Conn above it
	base     *listen.Conn // deadlines and the end of life
	server   *Server
	settings Settings
	tls      string // version and suite; empty without TLS
	tally    *tally // of the connection, with and without TLS

	in      *bufio.Reader
	out     []byte // replies not sent yet
	feed    []byte // what the library reads next
	chunked bool   // the content at hand comes by BDAT
	chunk   int64  // octets of the chunk still to come
	last    bool   // it is the last chunk

	started time.Time // of the content
	octets  int64     // of the content, as read

	extended bool    // the client said EHLO
	helo     string  // what it called itself there
	at       attempt // what the command at hand is about
	mute     string  // the library's next line is not sent if it begins so
	broken   bool    // the connection failed: content that ends now is not whole
	hangUp   bool    // the connection ends after the replies at hand
	handed   bool    // the connection now belongs to the conn above TLS
}

func newConn(s *Server, base *listen.Conn) *conn {
	c := &conn{Conn: base, base: base, server: s, settings: *s.settings.Load(), tally: &tally{began: time.Now()}}
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
	case c.chunk > 0 && !c.broken:
		// The library refused the BDAT; its octets are no commands.
		if !drain(&chunkReader{c: c, single: true}, c.settings.MaxMessageSize) {
			c.hangUp = true
		}
	}
	if c.broken {
		return 0, io.EOF
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
		if c.handed || c.broken {
			return 0, io.EOF
		}
	}
}

// readCommand returns the next line with its end. An error ends the
// connection, and has been answered where there is an answer.
func (c *conn) readCommand() ([]byte, error) {
	for {
		line, octets, err := c.readLine()
		switch {
		case err == bufio.ErrBufferFull:
			return nil, c.end(c.note(refusal.LineTooLong, c.line(refusal.LineTooLong)))
		case err == nil && octets <= maxCommand:
			return line, nil
		case err == nil:
			if c.tally.longLines++; c.tally.longLines > maxLongLines {
				return nil, c.end(replyTooManyLong)
			}
			c.refuse(refusal.LineTooLong)
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
func (c *conn) readLine() (line []byte, octets int, err error) {
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
func (c *conn) lineBuffered() bool {
	ahead, _ := c.in.Peek(c.in.Buffered())
	return bytes.IndexByte(ahead, '\n') >= 0
}

// end sends a last reply and makes the library see the end of the connection.
func (c *conn) end(reply string) error {
	if reply != "" {
		c.tally.over = replyText(reply)
	}
	c.say(reply)
	c.flush()
	c.broken = true
	return io.EOF
}

// inspect looks at a command before the library does. It returns the line to
// hand over, or nothing when the command has been dealt with.
func (c *conn) inspect(line []byte) []byte {
	m := readCommand(line)
	c.at.to = ""
	switch m.verb {
	case "EHLO", "HELO":
		if m.argument != "" {
			c.at = attempt{}
			c.extended = m.verb == "EHLO"
			c.helo, _, _ = strings.Cut(m.argument, " ")
		}
	case "MAIL":
		m.text = clampSize(m.text)
		if c.at.open { // refused by the session, which keeps the first
			break
		}
		path, _ := m.path()
		c.at = attempt{from: path}
	case "RCPT":
		path, parameters := m.path()
		c.at.to = path
		// RFC 5321 section 4.5.1: <Postmaster> needs no domain. The library's
		// grammar does; the session replaces what is added here.
		if c.at.barePostmaster() {
			m.text = "RCPT TO:<postmaster@" + c.server.config.Hostname + ">" + parameters
		}
	case "BDAT":
		if !c.beginChunk(m.argument) {
			return nil
		}
		c.beginContent()
		c.chunked = true
		c.mute = "354"
		m.text = "DATA"
	case "DATA":
		c.chunked = false
	case "RSET":
		c.at = attempt{}
	case "AUTH":
		c.refuse(refusal.NoAuth)
		return nil
	case "STARTTLS":
		c.startTLS(m.argument)
		return nil
	case "NOOP", "QUIT", "VRFY", "EXPN", "HELP":
	default:
		c.mistake()
		return nil
	}
	return []byte(m.text + "\r\n")
}

// mistake answers what is no command. Too many of them are no mail; they are
// counted here, since the library's count never goes down.
func (c *conn) mistake() {
	c.refuse(refusal.UnknownCommand)
	if c.tally.mistakes++; c.tally.mistakes > maxMistakes {
		last := c.line(refusal.TooManyErrors)
		c.say(last)
		c.tally.over = replyText(last)
		c.hangUp = true
	}
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
// after the reply.
func (c *conn) beginChunk(argument string) bool {
	words := strings.Fields(argument)
	c.last = len(words) == 2 && strings.EqualFold(words[1], "LAST")
	if len(words) == 1 || c.last {
		if size, err := strconv.ParseUint(words[0], 10, 32); err == nil {
			c.chunk = int64(size)
			return true
		}
	}
	c.refuse(refusal.BadChunk)
	c.hangUp = true
	return false
}

// beginContent starts the clock of the least rate.
func (c *conn) beginContent() {
	c.started, c.octets = time.Now(), 0
}

// awaitContent sets the deadline for the next octets of the content, if they
// are not here yet. An error has ended the connection.
func (c *conn) awaitContent() error {
	if c.broken {
		return io.ErrUnexpectedEOF
	}
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

// contentEnded makes the library see the end of the content, which the session
// has read, and then the command that cut it short, if one did.
func (c *conn) contentEnded(command []byte) {
	c.feed = append([]byte(".\r\n"), command...)
}

// Write gathers replies until the next read. The library writes a line a call.
func (c *conn) Write(p []byte) (int, error) {
	muted := c.mute != "" && bytes.HasPrefix(p, []byte(c.mute))
	c.mute = ""
	line := c.judge(printable(string(p)))
	if muted || c.broken { // broken: the last word has been said
		return len(p), nil
	}
	if err := c.say(line); err != nil {
		return 0, err
	}
	return len(p), nil
}

// printable puts ? for control characters, which the library repeats from what
// it does not understand.
func printable(line string) string {
	text, end := strings.CutSuffix(line, "\r\n")
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7F {
			return '?'
		}
		return r
	}, text)
	if end {
		text += "\r\n"
	}
	return text
}

// say gathers whole lines of a reply, and sends what has been gathered when it
// becomes much.
func (c *conn) say(lines string) error {
	if c.out = append(c.out, lines...); len(c.out) >= maxReplies {
		return c.flush()
	}
	return nil
}

// flush sends what was gathered. An error ends the connection: the library, which
// ignores it, would go on to obey and never answer again.
func (c *conn) flush() error {
	switch {
	case c.broken:
		return net.ErrClosed
	case len(c.out) == 0:
		return nil
	}
	c.base.SetWriteDeadline(time.Now().Add(c.settings.CommandTimeout))
	_, err := c.Conn.Write(c.out)
	c.out = c.out[:0]
	c.broken = err != nil
	return err
}

// startTLS obeys STARTTLS in the library's place, which would put TLS between
// itself and conn. What the client sent behind the command is thrown away: it
// was not protected (RFC 3207 section 4.2). The connection above TLS goes to
// the library anew.
func (c *conn) startTLS(argument string) {
	switch {
	case argument != "":
		c.refuse(refusal.TLSArgument)
		return
	case c.tls != "":
		c.refuse(refusal.TLSActive)
		return
	}
	c.say(replyStartTLS)
	c.in.Discard(c.in.Buffered())
	if c.flush() != nil {
		c.end("")
		return
	}
	secure := tls.Server(c.base, c.server.config.TLS)
	c.base.SetDeadline(time.Now().Add(c.settings.HandshakeTimeout))
	if err := secure.Handshake(); err != nil {
		c.server.config.Logger.Info(logs.Refused, append(c.about(), logs.Reason, "TLS handshake", logs.Error, err)...)
		c.end("")
		return
	}
	c.base.SetDeadline(time.Time{})
	above := newConn(c.server, c.base)
	above.tally = c.tally
	above.Conn = secure
	above.tls = listen.TLSName(secure.ConnectionState())
	above.mute = "220" // RFC 3207 section 4.2: no second greeting
	c.handed = true
	c.server.hand(above)
}

// Close implements net.Conn.
func (c *conn) Close() error {
	if c.handed {
		return nil
	}
	c.logEnd()
	c.base.CloseFollows()
	c.flush()
	return c.Conn.Close()
}
