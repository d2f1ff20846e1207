package mail

import (
	"strings"
	"time"
)

// maxForPath keeps the line of a "for" clause within the 998 octets of RFC 5322
// section 2.1.1.
const maxForPath = 980

// MaxHops is the largest number of Received fields of a message. A message with more is
// in a loop (RFC 5321 section 6.3).
const MaxHops = 100

// ReturnPath returns the field that records the reverse-path at final delivery (RFC 5321
// section 4.4), with its CRLF.
func ReturnPath(reversePath Address) string {
	return "Return-Path: <" + reversePath.String() + ">\r\n"
}

// DeliveredTo returns the field that names the forward-path by which a message came into a
// maildrop (RFC 9228), with its CRLF. Programs that distribute the mail of a catch-all
// maildrop read it.
func DeliveredTo(forwardPath Address) string {
	return "Delivered-To: " + forwardPath.String() + "\r\n"
}

// Received returns the trace field that host adds (RFC 5321 section 4.4), with its CRLFs.
// forPath is the path of the "for" clause. The zero Address leaves the clause out, which is
// required if there are several recipients: one would learn of the others. The length of
// the field does not depend on the time.
func Received(e *Envelope, host string, forPath Address) string {
	var b strings.Builder
	b.Grow(256)
	b.WriteString("Received: from ")
	b.WriteString(heloText(e.Client.Helo))
	b.WriteString(" (")
	b.WriteString(Literal(e.Client))
	b.WriteString(")\r\n\tby ")
	b.WriteString(host)
	b.WriteString(" with ")
	b.WriteString(string(e.Client.Protocol))
	if e.Client.TLS != "" {
		b.WriteString(" (" + e.Client.TLS + ")")
	}
	b.WriteString(" id ")
	b.WriteString(e.ID)
	if path := forPath.String(); path != "" && len(path) <= maxForPath {
		b.WriteString("\r\n\tfor <")
		b.WriteString(path)
		b.WriteByte('>')
	}
	b.WriteString(";\r\n\t")
	b.WriteString(e.Received.UTC().Format(time.RFC1123Z))
	b.WriteString("\r\n")
	return b.String()
}

// Literal returns the client's address as an address literal (RFC 5321 section 4.1.3).
func Literal(c Client) string {
	addr := c.Addr.Unmap().WithZone("")
	if addr.Is6() {
		return "[IPv6:" + addr.String() + "]"
	}
	return "[" + addr.String() + "]"
}

// heloText makes the name that a client gave fit for a header field: characters that a
// domain or an address literal cannot hold become "?", so that no comment, clause or line
// can be smuggled in.
func heloText(helo string) string {
	if helo == "" {
		return "unknown"
	}
	text := []byte(helo[:min(len(helo), maxDomain)])
	for i, c := range text {
		if !isAlnum(c) && strings.IndexByte(".-_:[]", c) < 0 {
			text[i] = '?'
		}
	}
	return string(text)
}
