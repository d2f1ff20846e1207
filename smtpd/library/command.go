package library

import (
	"strings"
	"unicode"

	"mailsrv/internal/wire"
)

// line is a command as a client sent it, parsed as far as the feeder needs it.
type line struct {
	text     string // the line without its end
	verb     string // in capitals
	argument string // what stands behind the verb, without the blanks around it
}

// parseCommand parses a line. White space at its end is ignored, as RFC 5321 section 4.1.1
// asks.
func parseCommand(octets []byte) line {
	text := strings.TrimRight(string(octets), " \t\r\n")
	verb, argument, _ := strings.Cut(text, " ")
	return line{text: text, verb: wire.Keyword(verb), argument: strings.TrimSpace(argument)}
}

// path returns the path in the argument of MAIL or RCPT, as the client wrote it but
// without its brackets, and the text that follows it.
func (m line) path() (path, parameters string) {
	_, rest, _ := strings.Cut(m.argument, ":")
	rest, bracketed := strings.CutPrefix(strings.TrimLeft(rest, " \t"), "<")
	quoted := false
	for i := 0; i < len(rest); i++ {
		switch c := rest[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case bracketed && c == '>':
			return rest[:i], rest[i+1:]
		case !bracketed && (c == ' ' || c == '\t'):
			return rest[:i], rest[i:]
		}
	}
	return rest, ""
}

// withoutRoute returns a path without the source route that may stand before it
// (RFC 5321 section 4.1.2).
func withoutRoute(path string) string {
	if strings.HasPrefix(path, "@") {
		_, path, _ = strings.Cut(path, ":")
	}
	return path
}

// lacksDomain reports whether a path has no domain, as in <root> and <root@>.
func lacksDomain(path string) bool {
	path = withoutRoute(path)
	return path != "" && (!strings.Contains(path, "@") || strings.HasSuffix(path, "@"))
}

// hasBareAt reports whether a path holds a second "@" outside of quotes. go-smtp unquotes
// paths: <a@b@example.org> and the valid <"a@b"@example.org> come from it as the same text.
func hasBareAt(path string) bool {
	ats, quoted := 0, false
	for rest := withoutRoute(path); rest != ""; rest = rest[1:] {
		switch {
		case quoted && rest[0] == '\\' && len(rest) > 1:
			rest = rest[1:]
		case rest[0] == '"':
			quoted = !quoted
		case !quoted && rest[0] == '@':
			ats++
		}
	}
	return ats > 1
}

// isPostmaster reports whether a path is <postmaster>, which needs no domain
// (RFC 5321 section 4.5.1).
func isPostmaster(path string) bool { return wire.Keyword(path) == "POSTMASTER" }

// hasForeignKeyword reports whether a keyword among the parameters of MAIL or RCPT is not
// ASCII (RFC 5321 section 4.1.2, esmtp-keyword). go-smtp would fold it to one that is.
func hasForeignKeyword(parameters string) bool {
	for word := range strings.FieldsSeq(parameters) {
		keyword, _, _ := strings.Cut(word, "=")
		if strings.ContainsFunc(keyword, func(r rune) bool { return r > unicode.MaxASCII }) {
			return true
		}
	}
	return false
}
