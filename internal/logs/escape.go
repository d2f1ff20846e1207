package logs

import (
	"fmt"
	"io"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Escape appends text to dst, with every invisible character but line ends written as in
// JSON, such as \u202e: control and format characters, separators of lines and paragraphs,
// all that a terminal could obey or that changes the direction of writing. Text that is
// JSON stays JSON with the same meaning. Octets that are not UTF-8 become U+FFFD, which is
// visible.
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

// plain returns how many octets at the beginning of text are visible ASCII or line ends.
func plain(text []byte) int {
	for i, c := range text {
		if c != '\n' && c < ' ' || c >= 0x7F {
			return i
		}
	}
	return len(text)
}

// escaping writes lines with Escape. The handlers of log/slog let some such characters
// pass: the JSON handler all that RFC 8259 allows, the text handler DEL.
type escaping struct{ to io.Writer }

// Escaping returns a writer that passes what it is given through [Escape] to w. Each Write
// makes one Write of w. Its text must not begin or end within a character.
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
