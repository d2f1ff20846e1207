package delivery

import (
	"bytes"
	"io"

	"mailsrv/internal/refusal"
)

// canonical writes content in the form that is stored. The result does not depend on how
// the content is divided among calls of Write. Every line ends in CRLF: an LF becomes
// CRLF, whether no, one or several CRs come before it. A CR elsewhere becomes a space. A
// last line without an end gets one. The header section has fields only (see section).
// All other octets stay, NUL and 8-bit included.
type canonical struct {
	to    io.Writer
	limit int64 // of octets as sent; 0: none

	sent int64
	bare bool // a bare CR or LF was found
	err  error

	crs     int  // CRs at the end of what was written, not passed on yet
	midLine bool // the current line has octets
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

// finish ends the last line. Write must not be called afterwards.
func (c *canonical) finish() error {
	c.bareCRs()
	if c.midLine {
		c.endLine()
	}
	return c.err
}

// line writes octets of a line, with bare CRs replaced. They hold no LF and do not end
// in CR.
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

// bareCRs writes a space for each CR that was held back, since no LF followed.
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
