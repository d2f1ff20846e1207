package mail

import (
	"net/netip"
	"time"
)

// Protocol is the value of the "with" clause of a Received field (RFC 3848,
// RFC 6531).
type Protocol string

// ProtocolName returns the protocol by which a message arrived: with EHLO, with TLS, with
// SMTPUTF8. There is no name for TLS with HELO.
func ProtocolName(extended, secure, utf8 bool) Protocol {
	name := "ESMTP"
	switch {
	case !extended:
		return "SMTP"
	case utf8:
		name = "UTF8SMTP"
	}
	if secure {
		name += "S"
	}
	return Protocol(name)
}

// Client is the SMTP client that sent a message.
type Client struct {
	Addr     netip.Addr
	Helo     string // as the client said it; any octets
	Protocol Protocol
	TLS      string // version and cipher suite; empty without TLS
}

// Envelope is what SMTP tells about a message besides its content (RFC 5321 section 2.3.1),
// without the recipients.
type Envelope struct {
	ID          string  // see [NewID]
	ReversePath Address // the zero Address is the null reverse-path <>
	Client      Client
	Size        int64 // octets declared by SIZE=, 0 if none (RFC 1870)
	Received    time.Time
}
