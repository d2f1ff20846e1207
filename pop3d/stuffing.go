package pop3d

import (
	"bufio"
	"bytes"
)

// stuffer writes the text of a multi-line reply (RFC 1939 section 3): it doubles a dot
// that begins a line, and ends the text with a lone dot. The text may come in pieces cut
// anywhere.
//
// A bare LF counts as the end of a line too. No stored message holds one, but a client
// that takes it for a line end must not find a final dot inside a message.
type stuffer struct {
	w        *bufio.Writer
	inLine   bool // the last octet was no LF
	openLine bool // the last octets were not CRLF
	last     byte
}

// write adds a piece of the text. Large pieces are not copied.
func (t *stuffer) write(piece []byte) error {
	if len(piece) == 0 {
		return nil
	}
	if !t.inLine && piece[0] == '.' {
		t.w.WriteByte('.')
	}
	rest := piece
	for {
		i := bytes.Index(rest, []byte("\n."))
		if i < 0 {
			break
		}
		t.w.Write(rest[:i+1])
		t.w.WriteByte('.')
		rest = rest[i+1:]
	}
	_, err := t.w.Write(rest) // bufio keeps an earlier error

	end := len(piece) - 1
	before := t.last
	if end > 0 {
		before = piece[end-1]
	}
	t.last = piece[end]
	t.inLine = t.last != '\n'
	t.openLine = t.inLine || before != '\r'
	return err
}

// end writes the final dot, on a line of its own.
func (t *stuffer) end() error {
	if t.openLine {
		t.w.WriteString("\r\n")
	}
	_, err := t.w.WriteString(".\r\n")
	return err
}
