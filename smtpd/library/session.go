package library

import (
	"errors"
	"io"
	"time"

	"mailsrv/internal/refusal"
)

// Session obeys the commands of one connection. It lives as long as the connection,
// before and after STARTTLS. Its methods are called by one goroutine at a time, in the
// order of the commands.
type Session interface {
	// Mail begins a mail transaction. nil: accepted.
	Mail(m Mail) *refusal.Refusal
	// Rcpt adds a recipient to the transaction. nil: accepted.
	Rcpt(r Rcpt) *refusal.Refusal
	// Data reads the content and returns the text of the 250 reply, or a refusal. It may
	// refuse the content before its end. Reset is called afterwards.
	Data(content io.Reader) (accepted string, no *refusal.Refusal)
	// Reset ends the transaction, if one is open.
	Reset()
	// Refused is called for each refusal before its reply is sent, whether the Session
	// or go-smtp made it. It returns the reason to reply with: the same, or one with
	// code 421, which ends the connection.
	Refused(c Command, no *refusal.Refusal) refusal.Reason
	// Close is called once, at the end of the connection. why is the text of the reply
	// with which the server ended it; empty: the client ended it.
	Close(why string)
}

// Mail is a MAIL command with valid syntax.
type Mail struct {
	Path string // unquoted; empty for <>
	Size int64  // octets, as declared; 0: not declared
	UTF8 bool   // SMTPUTF8 was given
}

// Rcpt is a RCPT command with valid syntax.
type Rcpt struct {
	// Path is unquoted. It is "postmaster" alone where the client named no domain
	// (RFC 5321 section 4.5.1).
	Path string
}

// Command is the command that a refusal answers.
type Command struct {
	Verb string // in capitals; empty: the line was no command
	Path string // of MAIL and RCPT, as the client wrote it, without brackets
}

// Settings of a connection. MaxRecipients and MaxMessageSize are in the EHLO reply.
type Settings struct {
	MaxRecipients   int           // per transaction
	MaxMessageSize  int64         // octets as sent, less than 4 GiB
	CommandTimeout  time.Duration // for a command to arrive, and for a reply to be sent
	DataIdleTimeout time.Duration // between octets of the content
	MinRate         int64         // octets per second, once a message has taken RateGrace
	// HandshakeTimeout ends a connection whose TLS handshake takes longer.
	HandshakeTimeout time.Duration
}

// RateGrace is how long a message may take before [Settings].MinRate applies to it.
const RateGrace = 10 * time.Minute

// ErrIncomplete is wrapped by the error of reading content that does not arrive whole:
// because the connection broke, or because a command came in the middle.
var ErrIncomplete = errors.New("the content did not arrive whole")
