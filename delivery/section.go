package delivery

import "bytes"

// maxFieldName bounds the name of a header field, which no line of RFC 5322
// (section 2.1.1) could hold if it were longer.
const maxFieldName = 998

// section is the header section of content as it streams, in canonical lines. The
// trace fields stand before it, so what is no field there would become a part of
// them: before the first line that is neither a field nor the continuation of one
// of the sender's own goes an empty line, and the rest is body. A "From " line of
// an mbox file, which some programs leave in front of the header, becomes a field.
type section struct {
	inBody bool // the empty line has passed
	hops   int  // Received fields

	fields bool   // the sender's own have begun
	known  bool   // what the current line is
	head   []byte // of the current line, until that is known
}

var (
	mailboxLine = []byte("X-Mailbox-Line: ")
	received    = []byte("received")
)

// write takes octets within a line of the section and emits them once it is known
// what the line is.
func (s *section) write(c *canonical, p []byte) {
	for !s.known {
		n := min(len(p), maxFieldName+1-len(s.head))
		line := p[:n]
		if len(s.head) > 0 {
			s.head = append(s.head, line...)
			line, p = s.head, p[n:]
		}
		switch kind := kindOf(line, false); {
		case kind != unknownLine:
			s.begin(c, kind, line)
		case len(line) > maxFieldName:
			s.begin(c, textLine, line)
		case len(s.head) > 0:
			return
		default:
			s.head = append(s.head, p...)
			return
		}
		if len(s.head) > 0 {
			c.emit(s.head)
			s.head = s.head[:0]
		}
	}
	if len(p) > 0 {
		c.emit(p)
	}
}

// endLine ends a line of the section, all but its CRLF.
func (s *section) endLine(c *canonical) {
	switch {
	case s.known:
	case len(s.head) > 0:
		s.begin(c, kindOf(s.head, true), s.head)
		c.emit(s.head)
		s.head = s.head[:0]
	default:
		s.inBody = true
	}
	s.known = false
}

// begin puts in front of a line what has to stand there.
func (s *section) begin(c *canonical, kind lineKind, line []byte) {
	s.known = true
	switch kind {
	case mboxLine:
		s.fields = true
		c.emit(mailboxLine)
		return
	case fieldLine:
		s.fields = true
		name, _, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(bytes.TrimRight(name, " \t"), received) {
			s.hops++
		}
		return
	case continuation:
		if s.fields {
			return
		}
	}
	s.inBody = true
	c.emit(crlf)
}

// lineKind is what a line of the header section can be.
type lineKind int

const (
	unknownLine  lineKind = iota // too little of it has come
	fieldLine                    // a name, perhaps blanks, a colon
	continuation                 // begins with a blank
	mboxLine                     // "From ", perhaps with ">" before it
	textLine                     // none of these
)

// kindOf tells a line by its first octets, of which there is at least one; whole
// says that no more of it comes.
func kindOf(line []byte, whole bool) lineKind {
	if isBlank(line[0]) {
		return continuation
	}
	name := 0
	for name < len(line) && '!' <= line[name] && line[name] <= '~' && line[name] != ':' {
		name++
	}
	rest := bytes.TrimLeft(line[name:], " \t") // after a name and the blanks behind it
	switch {
	case name > 0 && len(rest) > 0 && rest[0] == ':':
		return fieldLine
	case len(rest) == 0 && !whole:
		return unknownLine
	case bytes.HasPrefix(bytes.TrimLeft(line, ">"), []byte("From ")):
		return mboxLine
	}
	return textLine
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }
