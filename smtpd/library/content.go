package library

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"mailsrv/internal/listen"
	"mailsrv/internal/refusal"
	"mailsrv/internal/wire"
)

// dotReader reads the content of DATA up to its end, <CRLF>.<CRLF>, and removes the dots
// of dot-stuffing (RFC 5321 section 4.5.2). Only CRLF ends a line here: what a sender hides
// behind a bare LF or CR stays content.
type dotReader struct {
	c     *Conn
	state dotState
	done  bool  // the end was read
	err   error // of the connection
}

type dotState int

const (
	dotLineStart dotState = iota // after CRLF, or at the beginning
	dotDot                       // after a dot at the start of a line, held back
	dotDotCR                     // after that dot and a CR, both held back
	dotCR                        // after a CR
	dotText                      // within a line
)

var crlfDot = []byte("\r\n.")

// WriteTo implements io.WriterTo. It returns w's error as soon as there is one; another
// call then reads the rest.
func (d *dotReader) WriteTo(w io.Writer) (int64, error) {
	total := int64(0)
	for !d.done && d.err == nil {
		block, err := d.block()
		if err != nil {
			d.err = err
			break
		}
		used, n, err := d.decode(w, block)
		d.c.in.Discard(used)
		d.c.octets += int64(used)
		total += n
		if err != nil {
			return total, err
		}
	}
	return total, d.err
}

// Read implements io.Reader. It panics: io.Copy uses WriteTo.
func (d *dotReader) Read([]byte) (int, error) { panic("library: the content is read by WriteTo") }

// block returns what has arrived, at least one octet.
func (d *dotReader) block() ([]byte, error) {
	if err := d.c.awaitContent(); err != nil {
		return nil, err
	}
	return d.c.in.Peek(d.c.in.Buffered())
}

// decode writes the content in block to w. It returns the octets of the block that it used
// up and the octets that it wrote.
func (d *dotReader) decode(w io.Writer, block []byte) (used int, written int64, err error) {
	write := func(p []byte) {
		if err == nil && len(p) > 0 {
			var n int
			n, err = w.Write(p)
			written += int64(n)
		}
	}
	for used < len(block) && !d.done && err == nil {
		rest := block[used:]
		switch d.state {
		case dotLineStart:
			d.state = dotText
			if rest[0] == '.' {
				d.state = dotDot
				used++
			}
		case dotDot:
			d.state = dotText // the dot was put in by the sender
			if rest[0] == '\r' {
				d.state = dotDotCR
				used++
			}
		case dotDotCR:
			if rest[0] == '\n' {
				d.done = true
				used++
				continue
			}
			write(heldCR) // the CR that was held back belongs to the content
			d.state = dotCR
		case dotCR:
			switch rest[0] {
			case '\n':
				d.state = dotLineStart
				write(rest[:1])
				used++
			case '\r':
				write(rest[:1])
				used++
			default:
				d.state = dotText
			}
		case dotText:
			if i := bytes.Index(rest, crlfDot); i >= 0 {
				write(rest[:i+2])
				used += i + 2
				d.state = dotLineStart
				continue
			}
			switch {
			case bytes.HasSuffix(rest, crlfDot[:2]):
				d.state = dotLineStart
			case rest[len(rest)-1] == '\r':
				d.state = dotCR
			}
			write(rest)
			used = len(block)
		}
	}
	return used, written, err
}

var heldCR = []byte("\r")

// finished implements content.
func (d *dotReader) finished() (bool, []byte) { return d.done, nil }

// chunkReader reads content that BDAT carries (RFC 3030 section 2): a chunk, and unless it
// was the last, the commands up to the next chunk.
type chunkReader struct {
	c      *Conn
	single bool   // stop after this chunk
	done   bool   // the last chunk was read
	cut    []byte // the command that ended the content before its last chunk
	err    error  // of the connection
}

// errCut means that a command came where the next chunk should have.
var errCut = fmt.Errorf("%w: the client gave up the message", ErrIncomplete)

// WriteTo implements io.WriterTo, with w's errors as in dotReader.
func (r *chunkReader) WriteTo(w io.Writer) (int64, error) {
	total := int64(0)
	for !r.done && r.err == nil {
		if r.c.chunk == 0 {
			r.err = r.next()
			continue
		}
		if r.err = r.c.awaitContent(); r.err != nil {
			break
		}
		block, _ := r.c.in.Peek(int(min(r.c.chunk, int64(r.c.in.Buffered()))))
		n, err := w.Write(block)
		total += int64(n)
		r.c.in.Discard(len(block))
		r.c.chunk -= int64(len(block))
		r.c.octets += int64(len(block))
		if err != nil {
			return total, err
		}
	}
	return total, r.err
}

// next reads on to the next chunk, or to the end of the content.
func (r *chunkReader) next() error {
	if r.done = r.c.last || r.single; r.done {
		return nil
	}
	r.c.say(replyChunk)
	for {
		line, err := r.c.betweenChunks()
		if err != nil {
			return err
		}
		m := parseCommand(line)
		switch m.verb {
		case "BDAT":
			if !r.c.beginChunk(m.argument) {
				return errCut
			}
			return nil
		case "RSET", "QUIT", "EHLO", "HELO":
			r.cut = bytes.Clone(line)
			return errCut
		case "NOOP":
			r.c.say(replyNoop)
		default:
			r.c.refuse(refusal.BetweenChunks)
		}
	}
}

// Read implements io.Reader. It panics: io.Copy uses WriteTo.
func (r *chunkReader) Read([]byte) (int, error) { panic("library: the content is read by WriteTo") }

// finished implements content.
func (r *chunkReader) finished() (bool, []byte) {
	if r.single && r.c.chunk == 0 {
		return true, nil
	}
	return r.done || r.err == errCut, r.cut
}

// content reads what DATA or BDAT carries. Only WriteTo is called.
type content interface {
	io.Reader
	io.WriterTo
	// finished reports whether all of the content was read, and returns the
	// command that cut it short, if one did.
	finished() (done bool, cut []byte)
}

// drain reads and discards up to limit octets of what is left of the content. It reports
// whether it came to the end.
func drain(from content, limit int64) bool {
	if done, _ := from.finished(); done {
		return true
	}
	from.WriteTo(&discard{left: limit})
	done, _ := from.finished()
	return done
}

// discard is a writer that discards left octets and then fails.
type discard struct{ left int64 }

func (d *discard) Write(p []byte) (int, error) {
	if d.left -= int64(len(p)); d.left < 0 {
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}

// beginChunk notes the octets that follow a BDAT. If the number cannot be parsed, content
// and commands cannot be told apart: beginChunk returns false, and the connection ends
// after the reply.
func (c *Conn) beginChunk(argument string) bool {
	words := strings.Fields(argument)
	c.last = len(words) == 2 && wire.Keyword(words[1]) == "LAST"
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

// beginContent starts the clocks of the least rate and of silence.
func (c *Conn) beginContent() {
	c.started, c.octets = time.Now(), 0
	c.counted = -1 // silence counts from the first wait: our wait for memory is not the client's
	c.yielded.Store(false)
}

// errYield means that others need the memory of a message that is still arriving.
var errYield = errors.New("others need the memory that it holds")

// awaitContent waits until octets of the content are buffered. On an error it has ended
// the connection.
func (c *Conn) awaitContent() error {
	if c.broken {
		return ErrIncomplete
	}
	if c.in.Buffered() > 0 {
		return nil
	}
	if err := c.contentDeadline(); err != nil {
		return err
	}
	_, err := c.in.Peek(1)
	c.base.Working()
	if err != nil {
		return c.contentFailed(err)
	}
	return nil
}

// contentDeadline sets the deadline for the next read, or ends the connection if the
// message comes too slowly. Silence counts from the last octet of the content; commands
// between two chunks do not end it. Before the first octet there is no transfer yet, and a
// drain ends the wait.
func (c *Conn) contentDeadline() error {
	now := time.Now()
	if took := now.Sub(c.started); took > RateGrace && float64(c.octets) < took.Seconds()*float64(c.settings.MinRate) {
		return c.contentFailed(os.ErrDeadlineExceeded)
	}
	if c.octets > c.counted {
		c.counted, c.heard = c.octets, now
	}
	deadline := c.heard.Add(c.settings.DataIdleTimeout)
	if c.octets > 0 {
		c.base.SetReadDeadline(deadline)
	} else if err := c.base.AwaitCommand(deadline.Sub(now)); err != nil {
		return c.contentFailed(err)
	}
	if c.yielded.Load() {
		return c.contentFailed(errYield)
	}
	return nil
}

// betweenChunks reads the next command between two chunks. It counts as part of the
// transfer: a drain lets it finish, and the least rate and the limit on silence apply.
func (c *Conn) betweenChunks() ([]byte, error) {
	for {
		if c.broken || c.hangUp {
			return nil, ErrIncomplete
		}
		if err := c.contentDeadline(); err != nil {
			return nil, err
		}
		line, err := wire.ReadLine(c.in, func([]byte) int { return maxCommand }, maxLongCommand)
		c.base.Working()
		switch {
		case err == nil:
			return line, nil
		case errors.Is(err, wire.ErrTooLong):
			c.refuse(refusal.LineTooLong)
		default:
			return nil, c.contentFailed(err)
		}
	}
}

// contentFailed ends the connection in the middle of content, since what follows must
// never be read as commands. It returns err wrapped with ErrIncomplete.
func (c *Conn) contentFailed(err error) error {
	reply := ""
	switch {
	case c.octets == 0 && c.base.Ended():
		reply = replyEnded
	case c.octets == 0 && c.drained(err):
		reply, err = replyDraining, listen.ErrDraining
	case c.yielded.Load():
		reply, err = replyYield, errYield
	case errors.Is(err, os.ErrDeadlineExceeded):
		reply = replyTooSlow
	}
	c.end(reply)
	return fmt.Errorf("%w: %w", ErrIncomplete, err)
}
