package logs

import (
	"fmt"
	"io"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Escape appends text to dst, with everything but line ends written as JSON writes
// it, \u202e, that is not text to be seen: control and format characters, separators
// of lines and paragraphs, whatever a terminal could obey or that turns the direction
// of writing. Text that is JSON stays JSON, and says the same. What is no UTF-8 becomes
// U+FFFD, which is seen.
func Escape(dst, text []byte) []byte {
	for len(text) > 0 {
		n := plain(text)
		dst, text = append(dst, text[:n]...), text[n:]
		if len(text) == 0 {
			break
		}
		r, size := utf8.DecodeRune(text)
		text = text[size:]
		if unicode.IsPrint(r) {
			dst = utf8.AppendRune(dst, r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			dst = fmt.Appendf(dst, `\u%04x`, unit)
		}
	}
	return dst
}

// plain is how many octets at the beginning of text are ASCII to be seen, or line ends.
func plain(text []byte) int {
	for i, c := range text {
		if c != '\n' && c < ' ' || c >= 0x7F {
			return i
		}
	}
	return len(text)
}

// escaping writes lines with Escape. The handlers of log/slog let some of it pass: that
// for JSON all that RFC 8259 allows, that for text DEL.
type escaping struct{ to io.Writer }

// Escaping returns a writer that writes to w what is given to it, by Escape. Each Write
// is one of w, and must not cut a character.
func Escaping(w io.Writer) io.Writer { return escaping{w} }

func (e escaping) Write(line []byte) (int, error) {
	if plain(line) == len(line) {
		return e.to.Write(line)
	}
	if _, err := e.to.Write(Escape(make([]byte, 0, len(line)+64), line)); err != nil {
		return 0, err
	}
	return len(line), nil
}
