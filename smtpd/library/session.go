package library

import (
	"errors"
	"io"
	"time"

	"mailsrv/internal/refusal"
)

// Session is what the commands of one connection mean. It lives as long as the
// connection, with and without TLS. Its methods are called by one goroutine at a
// time, in the order of the commands.
type Session interface {
	// Mail begins a mail transaction. nil: accepted.
	Mail(m Mail) *refusal.Refusal
	// Rcpt adds a recipient to it. nil: accepted.
	Rcpt(r Rcpt) *refusal.Refusal
	// Data reads the content, which may be refused before its end, and returns the
	// text of the 250 that the client hears. Reset follows.
	Data(content io.Reader) (accepted string, no *refusal.Refusal)
	// Reset ends the transaction, if one is open.
	Reset()
	// Refused is told of each refusal before its reply leaves, whoever made it, and
	// returns the reason that the client hears: the same, or one of which the code
	// is 421, which ends the connection.
	Refused(c Command, no *refusal.Refusal) refusal.Reason
	// Close is called once, at the end of the connection. why is the text with
	// which the server ended it, empty where the client did.
	Close(why string)
}

// Mail is a MAIL command whose grammar is sound.
type Mail struct {
	Path string // unquoted; empty for <>
	Size int64  // octets, as declared; 0: not
	UTF8 bool   // SMTPUTF8 was given
}

// Rcpt is a RCPT command whose grammar is sound.
type Rcpt struct {
	// Path is unquoted. It is "postmaster" alone where the client named no domain
	// (RFC 5321 section 4.5.1).
	Path string
}

// Command is what a client asked for.
type Command struct {
	Verb string // in capitals; empty for what is no command
	Path string // of MAIL and RCPT, as the client wrote it, without brackets
}

// Settings of a connection. MaxRecipients and MaxMessageSize are in the EHLO reply.
type Settings struct {
	MaxRecipients   int           // a transaction
	MaxMessageSize  int64         // octets as sent, less than 4 GiB
	CommandTimeout  time.Duration // for a command to arrive, and a reply to leave
	DataIdleTimeout time.Duration // between octets of the content
	MinRate         int64         // octets a second, once a message has taken RateGrace
	// HandshakeTimeout ends a connection whose TLS handshake takes longer.
	HandshakeTimeout time.Duration
}

// RateGrace is how long a message may take before it is held to the least rate.
const RateGrace = 10 * time.Minute

// ErrIncomplete is what reading the content fails with, wrapped, where it does not
// arrive whole: the connection broke, or a command came in the middle.
var ErrIncomplete = errors.New("the content did not arrive whole")
