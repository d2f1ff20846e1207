package pop3d

import "bytes"

// head finds the end of what TOP sends (RFC 1939 section 7): the header, the
// blank line, and the wanted number of lines of the body. Pieces may be cut anywhere.
type head struct {
	lines  int64 // of the body that are still wanted
	inBody bool
	begun  string // first octets of a line that earlier pieces began, at most 3
}

// cut returns the part of a piece that TOP sends, and whether the end has been reached.
func (h *head) cut(piece []byte) (wanted []byte, done bool) {
	rest := piece
	for {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			if len(h.begun) < 2 {
				h.begun += string(rest[:min(2, len(rest))])
			}
			return piece, false
		}
		switch {
		case h.inBody:
			h.lines--
		case h.isBlank(rest[:i]):
			h.inBody = true
		}
		h.begun = ""
		rest = rest[i+1:]
		if h.inBody && h.lines == 0 {
			return piece[:len(piece)-len(rest)], true
		}
	}
}

// isBlank reports whether a line is empty but for its CR.
func (h *head) isBlank(line []byte) bool {
	if h.begun == "" {
		return len(line) == 0 || len(line) == 1 && line[0] == '\r'
	}
	return h.begun == "\r" && len(line) == 0
}
