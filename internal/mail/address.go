package mail

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Limits in octets. RFC 5321 section 4.5.3.1 allows servers to accept more than its own
// limits. Forwarders, signers and taggers in the field write local parts longer than 64
// octets, so paths may have them.
const (
	maxPathLocal = 1000
	maxDomain    = 255
)

// MaxLocal is the longest local part, in octets and without its tag, of an address that is
// hosted here (RFC 5321 section 4.5.3.1.1).
const MaxLocal = 64

// Address is a mailbox address. Local is unquoted and keeps its case; Domain
// is lower case with A-labels (RFC 5890), or an address literal in brackets.
// The zero Address stands for the null reverse-path.
type Address struct {
	Local  string
	Domain string
}

// ErrAddress is wrapped by every error of [ParseAddress], [SplitAddress] and [ParseDomain].
var ErrAddress = errors.New("bad address")

// ParseAddress parses an address as a person writes it: local@domain. The local part is
// quoted where it has to be, and has at most [MaxLocal] octets without its tag.
func ParseAddress(s string) (Address, error) {
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return Address{}, fmt.Errorf("%w %q: write local@domain", ErrAddress, s)
	}
	local := s[:at]
	if strings.HasPrefix(local, `"`) {
		unquoted, ok := unquote(local)
		if !ok {
			return Address{}, fmt.Errorf("%w %q: the quoted local part is malformed", ErrAddress, s)
		}
		local = unquoted
	} else if !isDotString(local) {
		return Address{}, fmt.Errorf("%w %q: the local part needs quotes, or has a dot too many", ErrAddress, s)
	}
	a, err := newAddress(local, s[at+1:])
	if err != nil {
		return Address{}, err
	}
	if bare, _ := a.WithoutTag(); len(bare.Local) > MaxLocal {
		return Address{}, fmt.Errorf("%w: the local part has more than %d octets", ErrAddress, MaxLocal)
	}
	return a, nil
}

// SplitAddress parses an address whose local part has been unquoted already, as go-smtp
// hands it over. It splits at the last "@": the local part may hold others, and up to
// 1,000 octets.
func SplitAddress(s string) (Address, error) {
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return Address{}, fmt.Errorf("%w %q: no domain", ErrAddress, s)
	}
	return newAddress(s[:at], s[at+1:])
}

func newAddress(local, domain string) (Address, error) {
	switch {
	case local == "":
		return Address{}, fmt.Errorf("%w: the local part is empty", ErrAddress)
	case len(local) > maxPathLocal:
		return Address{}, fmt.Errorf("%w: the local part has more than %d octets", ErrAddress, maxPathLocal)
	case hasControl(local) || !utf8.ValidString(local):
		return Address{}, fmt.Errorf("%w: control characters or broken UTF-8 in the local part", ErrAddress)
	}
	name, err := ParseDomain(domain)
	if err != nil {
		return Address{}, err
	}
	return Address{Local: local, Domain: name}, nil
}

// ParseDomain returns a domain in the form in which domains are compared: lower case,
// A-labels, no trailing dot. It also accepts an address literal.
func ParseDomain(s string) (string, error) {
	if strings.HasPrefix(s, "[") {
		return parseLiteral(s)
	}
	name := strings.TrimSuffix(s, ".")
	if isPlainDomain(name) {
		return strings.ToLower(name), nil
	}
	valid := utf8.ValidString(name) // ToASCII encodes broken UTF-8 as U+FFFD
	name, err := idnaProfile.ToASCII(name)
	if !valid || err != nil || !isPlainDomain(name) {
		return "", fmt.Errorf("%w: %q is not a domain name", ErrAddress, s)
	}
	return name, nil
}

// idnaProfile maps U-labels to A-labels as look-ups do (RFC 5891 section 5).
var idnaProfile = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.Transitional(false), idna.StrictDomainName(false))

// isPlainDomain reports whether s consists of letters, digits, hyphens and
// (seen in the field, if not in RFC 1123) underscores, in labels of 1 to 63.
// A-labels that IDNA would refuse pass: they are only compared, never shown.
func isPlainDomain(s string) bool {
	if s == "" || len(s) > maxDomain {
		return false
	}
	label := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == '.':
			if label == 0 {
				return false
			}
			label = 0
			continue
		case isAlnum(c) || c == '-' || c == '_':
			label++
		default:
			return false
		}
		if label > 63 {
			return false
		}
	}
	return label > 0
}

// parseLiteral checks an address literal (RFC 5321 section 4.1.3).
func parseLiteral(s string) (string, error) {
	inner, closed := strings.CutSuffix(s[1:], "]")
	text := inner
	if len(inner) > 5 && strings.EqualFold(inner[:5], "IPv6:") {
		text = inner[5:]
	}
	addr, err := netip.ParseAddr(text)
	if !closed || err != nil || addr.Zone() != "" {
		return "", fmt.Errorf("%w: %q is not an address literal", ErrAddress, s)
	}
	if addr.Is4() {
		return "[" + addr.String() + "]", nil
	}
	return "[IPv6:" + addr.String() + "]", nil
}

// IsZero reports whether a is the null reverse-path.
func (a Address) IsZero() bool { return a == Address{} }

// Fold returns a in the form in which mailboxes are compared: the local part in Unicode
// normal form C with its case folded, the domain as it is. RFC 5321 leaves local parts to
// the host that owns them, and no sender means two people by Look@me.com and look@me.com.
// All code that compares addresses uses Fold. A folded address folds to itself.
func (a Address) Fold() Address {
	for i := range len(a.Local) {
		if c := a.Local[i]; c >= utf8.RuneSelf || 'A' <= c && c <= 'Z' {
			a.Local = fold(a.Local)
			break
		}
	}
	return a
}

// fold is the full case folding of Unicode between two normalisations: the first brings
// marks into one order, the second composes what folding has decomposed.
//
// PRECIS (RFC 8265) is not used: its classes of characters refuse addresses that are in
// use, and it keeps ß and ς apart from ss and σ, which senders do not.
//
// Cherokee is mapped to its small letters, as in RFC 8265. Its capitals are older than
// those, so Unicode folds to the capitals. x/text maps each to the other: a second folding
// would undo the first.
func fold(s string) string {
	s = cases.Fold().String(norm.NFC.String(s))
	return norm.NFC.String(strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cherokee, r) {
			return unicode.ToLower(r)
		}
		return r
	}, s))
}

// WithoutTag returns a without the "+tag" of its local part, and whether there was one. A
// local part that begins with "+" has no tag.
func (a Address) WithoutTag() (Address, bool) {
	i := strings.IndexByte(a.Local, '+')
	if i <= 0 {
		return a, false
	}
	a.Local = a.Local[:i]
	return a, true
}

// String returns the address as it is written in a path or a header field. The local part
// is quoted where RFC 5321 section 4.1.2 asks for it. The zero Address gives "".
func (a Address) String() string {
	if a.IsZero() {
		return ""
	}
	if isDotString(a.Local) {
		return a.Local + "@" + a.Domain
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(a.Local) {
		if c := a.Local[i]; c == '"' || c == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(a.Local[i])
	}
	b.WriteString(`"@`)
	b.WriteString(a.Domain)
	return b.String()
}

// isDotString reports whether s is a Dot-string: atoms with single dots
// between them (RFC 5321 section 4.1.2, with RFC 6531's UTF-8).
func isDotString(s string) bool {
	if s == "" || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if c < utf8.RuneSelf && !isAlnum(c) && strings.IndexByte("!#$%&'*+-/=?^_`{|}~.", c) < 0 {
			return false
		}
	}
	return true
}

// unquote returns the text of a Quoted-string, and whether it is one.
func unquote(s string) (string, bool) {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return "", false
	}
	var b strings.Builder
	for i := 1; i < len(s)-1; i++ {
		c := s[i]
		if c == '"' {
			return "", false
		}
		if c == '\\' {
			i++
			if i == len(s)-1 {
				return "", false
			}
			c = s[i]
		}
		b.WriteByte(c)
	}
	return b.String(), true
}

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// hasControl reports whether s has C0 controls, DEL, or the C1 controls of Unicode, which
// some terminals obey.
func hasControl(s string) bool {
	for _, r := range s {
		if r < 0x20 || 0x7F <= r && r < 0xA0 {
			return true
		}
	}
	return false
}
