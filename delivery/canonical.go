package delivery

import (
	"bytes"
	"io"

	"mailsrv/internal/refusal"
)

// canonical writes content in the one form that is stored, independent of how
// it was cut: every line ends in CRLF, a bare LF becomes CRLF, CRs directly before
// LF go, another bare CR becomes a space, a last line without an end gets one. The
// header section holds fields alone (see section). Everything else, NUL and 8-bit
// octets included, stays. It counts what was sent, and the Received fields.
type canonical struct {
	to    io.Writer
	limit int64 // of octets as sent; 0: none

	sent int64
	bare bool // a CR or LF stood alone
	err  error

	crs     int  // CRs at the end of what was written, held back
	midLine bool // something of the current line has come
	section section
}

var (
	crlf  = []byte("\r\n")
	space = []byte(" ")
)

// Write takes the next octets of the content as sent.
func (c *canonical) Write(p []byte) (int, error) {
	n := len(p)
	c.sent += int64(n)
	if c.limit > 0 && c.sent > c.limit {
		c.fail(refusal.New(refusal.TooLarge, "more than %d octets", c.limit))
	}
	for len(p) > 0 && c.err == nil {
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			line := bytes.TrimRight(p, "\r")
			c.line(line)
			c.crs += len(p) - len(line)
			break
		}
		line := bytes.TrimRight(p[:end], "\r")
		c.line(line)
		c.crs += end - len(line)
		c.bare = c.bare || c.crs != 1
		c.crs = 0
		c.endLine()
		p = p[end+1:]
	}
	if c.err != nil {
		return 0, c.err
	}
	return n, nil
}

// finish ends the last line. Nothing may be written afterwards.
func (c *canonical) finish() error {
	c.bareCRs()
	if c.midLine {
		c.endLine()
	}
	return c.err
}

// line writes octets of a line that hold no LF and do not end in CR, bare CRs
// replaced.
func (c *canonical) line(p []byte) {
	if len(p) == 0 {
		return
	}
	c.bareCRs()
	for {
		cr := bytes.IndexByte(p, '\r')
		if cr < 0 {
			c.put(p)
			return
		}
		c.put(p[:cr])
		c.bare = true
		c.put(space)
		p = p[cr+1:]
	}
}

// bareCRs writes a space for each CR that was held back: no LF followed.
func (c *canonical) bareCRs() {
	for ; c.crs > 0 && c.err == nil; c.crs-- {
		c.bare = true
		c.put(space)
	}
}

// put writes octets within a line.
func (c *canonical) put(p []byte) {
	if len(p) == 0 || c.err != nil {
		return
	}
	c.midLine = true
	if c.section.inBody {
		c.emit(p)
		return
	}
	c.section.write(c, p)
}

func (c *canonical) endLine() {
	if !c.section.inBody {
		c.section.endLine(c)
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
