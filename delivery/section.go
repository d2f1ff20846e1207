package delivery

import "bytes"

// maxFieldName is the most octets of a field's name: RFC 5322 section 2.1.1 has no
// longer lines.
const maxFieldName = 998

// section is the header section of the content, as it streams in canonical lines. The
// trace fields are stored before it, so a first line that is no field would become a
// part of them. Therefore an empty line is added before the first line that is neither a
// field nor the continuation of one, and the rest is body. A "From " line of an mbox
// file, which some programs leave before the header, becomes a field.
type section struct {
	inBody bool // the empty line has passed
	hops   int  // number of Received fields

	fields bool   // a field of the sender has begun
	known  bool   // the kind of the current line is known
	head   []byte // the current line, until its kind is known
}

var (
	mailboxLine = []byte("X-Mailbox-Line: ")
	received    = []byte("received")
)

// write takes octets within a line of the section and emits them once the kind of the
// line is known.
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

// endLine ends a line of the section. The caller writes the CRLF.
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

// begin emits what has to come before a line of this kind.
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

// lineKind is the kind of a line in the header section.
type lineKind int

const (
	unknownLine  lineKind = iota // more octets are needed
	fieldLine                    // a name, perhaps blanks, a colon
	continuation                 // begins with a blank
	mboxLine                     // "From ", perhaps with ">" before it
	textLine                     // none of these
)

// kindOf returns the kind of the line that begins with these octets, of which there is
// at least one. whole: the line has no more.
func kindOf(line []byte, whole bool) lineKind {
	if isBlank(line[0]) {
		return continuation
	}
	name := 0
	for name < len(line) && '!' <= line[name] && line[name] <= '~' && line[name] != ':' {
		name++
	}
	rest := bytes.TrimLeft(line[name:], " \t") // after the name and blanks
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
