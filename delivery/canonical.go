package delivery

import (
	"bytes"
	"io"
)

// canonical writes content in the one form that is stored, independent of how
// it was cut: every line ends in CRLF, a bare LF becomes CRLF, a bare CR a
// space, a last line without an end gets one. Everything else, NUL and 8-bit
// octets included, stays. It counts what was sent, and the Received fields.
type canonical struct {
	to    io.Writer
	limit int64 // of octets as sent; 0: none

	sent int64
	bare bool // a CR or LF stood alone
	hops int  // Received fields in the header section
	err  error

	cr       bool // the last octet was a CR, not yet written
	midLine  bool // something of the current line has been written
	inBody   bool // the empty line has passed
	lineHead []byte
}

var (
	crlf     = []byte("\r\n")
	space    = []byte(" ")
	received = []byte("received:")
)

// Write takes the next octets of the content as sent.
func (c *canonical) Write(p []byte) (int, error) {
	n := len(p)
	c.sent += int64(n)
	if c.limit > 0 && c.sent > c.limit {
		c.fail(refuse(MessageTooLarge, "more than %d octets", c.limit))
	}
	for len(p) > 0 && c.err == nil {
		if c.cr {
			c.cr = false
			if p[0] == '\n' {
				c.endLine()
				p = p[1:]
				continue
			}
			c.bareCR()
		}
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			c.partLine(p)
			break
		}
		line := p[:end]
		p = p[end+1:]
		if len(line) > 0 && line[len(line)-1] == '\r' {
			c.line(line[:len(line)-1])
		} else {
			c.bare = true
			c.line(line)
		}
		c.endLine()
	}
	if c.err != nil {
		return 0, c.err
	}
	return n, nil
}

// finish ends the last line. Nothing may be written afterwards.
func (c *canonical) finish() error {
	if c.cr {
		c.cr = false
		c.bareCR()
	}
	if c.midLine {
		c.endLine()
	}
	return c.err
}

// partLine takes octets that end in the middle of a line.
func (c *canonical) partLine(p []byte) {
	if p[len(p)-1] == '\r' {
		c.cr = true
		p = p[:len(p)-1]
	}
	c.line(p)
}

// line writes octets of a line that hold no LF, bare CRs replaced.
func (c *canonical) line(p []byte) {
	for len(p) > 0 {
		cr := bytes.IndexByte(p, '\r')
		if cr < 0 {
			c.put(p)
			return
		}
		c.put(p[:cr])
		c.bareCR()
		p = p[cr+1:]
	}
}

func (c *canonical) bareCR() {
	c.bare = true
	c.put(space)
}

// put writes octets within a line and keeps its beginning, to know the field.
func (c *canonical) put(p []byte) {
	if len(p) == 0 || c.err != nil {
		return
	}
	c.midLine = true
	if !c.inBody && len(c.lineHead) < len(received) {
		c.lineHead = append(c.lineHead, p[:min(len(p), len(received)-len(c.lineHead))]...)
	}
	c.emit(p)
}

func (c *canonical) endLine() {
	if !c.inBody {
		c.inBody = !c.midLine
		if bytes.EqualFold(c.lineHead, received) {
			c.hops++
		}
		c.lineHead = c.lineHead[:0]
	}
	c.midLine = false
	c.emit(crlf)
}

func (c *canonical) emit(p []byte) {
	if c.err == nil {
		_, err := c.to.Write(p)
		c.fail(err)
	}
}

func (c *canonical) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}
