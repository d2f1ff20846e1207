package refusal

import (
	"errors"
	"fmt"
)

// Reason is why something is refused. The zero Reason is none.
type Reason uint8

// The reasons about a recipient.
const (
	_              Reason = iota
	NotHosted             // relay: the domain is not ours
	NoMailbox             // hosted, but nobody of that name
	Disabled              // the mailbox takes no mail
	BadAlias              // the alias loops or expands beyond bounds
	Full                  // the maildrop is full; when_full: reject
	FullDeferred          // the maildrop is full; when_full: defer
	TargetFull            // one target of an alias is full
	TooLargeForBox        // more than the maildrop's whole limit
	SomeFull              // not every recipient has room; nothing was stored
	MustBeAlone           // a recipient that had no room shares no transaction
	Changed               // a recipient was removed before the commit
	TooManyRecipients

	// The reasons about the content.

	TooLarge    // more than any message may have
	TooManyHops // it is in a loop
	BareNewline // a bare CR or LF, where the configuration refuses that
	Incomplete  // it did not arrive whole

	// The reasons on the server's side.

	NoSpace  // the disk is nearly full
	NoMemory // all buffers or all staging space are in use
	Failure  // an unexpected error

	// The reasons about a command.

	BadSender       // the reverse-path is no address
	SenderNoDomain  // as in <root>
	SenderBareAt    // a second "@" without quotes
	BadRecipient    // the forward-path is no address
	RecipientDomain // as in <look>: it has none
	RecipientBareAt // a second "@" without quotes
	NeedsUTF8       // an address beyond ASCII without SMTPUTF8
	NoName          // EHLO or HELO without a name
	NotGreeted      // EHLO or HELO comes first
	Nested          // a mail transaction is open already
	NoTransaction   // none is
	NoRecipients    // no recipient has been accepted
	UnknownCommand
	UnknownParameter
	NotImplemented        // a command of the standard that is not offered
	ParameterNotSupported // a parameter of an extension that is not offered
	Syntax                // any other that the grammar does not allow
	LineTooLong           // a command
	NoAuth                // AUTH is not offered
	BadChunk              // BDAT without a size that can be read
	BetweenChunks         // a command that may not stand there
	TLSArgument           // STARTTLS takes none
	TLSActive             // STARTTLS while TLS is active
	TLSFailed             // the handshake failed; the reply cannot be sent
	TooManyErrors         // the session ends: too many mistakes
	TooManyRefused        // the session ends: too many refusals, as of guessed addresses
	Slowed                // too many RCPTs of the client's network wait, since it guesses addresses
	TooManyGuesses        // no connection: the client's network guesses addresses

	end // of the reasons
)

// Reply is what is sent to a client.
type Reply struct {
	Code     int    // RFC 5321 section 4.2
	Enhanced [3]int // RFC 3463; zero where RFC 2034 section 3 wants none
	Text     string
}

// Line returns the reply as a line, with its CRLF.
func (r Reply) Line() string {
	if r.Enhanced == [3]int{} {
		return fmt.Sprintf("%d %s\r\n", r.Code, r.Text)
	}
	return fmt.Sprintf("%d %d.%d.%d %s\r\n", r.Code, r.Enhanced[0], r.Enhanced[1], r.Enhanced[2], r.Text)
}

// row is what belongs to a reason.
type row struct {
	name  string
	reply Reply
}

func say(code, class, subject, detail int, text string) Reply {
	return Reply{Code: code, Enhanced: [3]int{class, subject, detail}, Text: text}
}

var table = [end]row{
	NotHosted:         {"not-hosted", say(550, 5, 7, 1, "%s takes mail for its own domains only; to send to others use your outgoing server")},
	NoMailbox:         {"no-mailbox", say(550, 5, 1, 1, "No such mailbox here")},
	Disabled:          {"disabled", say(550, 5, 2, 1, "This mailbox is disabled")},
	BadAlias:          {"bad-alias", say(451, 4, 3, 5, "The alias is misconfigured, try again later")},
	Full:              {"full", say(552, 5, 2, 2, "The mailbox is full")},
	FullDeferred:      {"full-deferred", say(452, 4, 2, 2, "The mailbox is full, try again later")},
	TargetFull:        {"target-full", say(452, 4, 2, 2, "A mailbox behind this address is full, try again later")},
	TooLargeForBox:    {"too-large-for-mailbox", say(552, 5, 2, 3, "The message is larger than this mailbox can hold")},
	SomeFull:          {"some-full", say(452, 4, 2, 2, "Not every recipient has room, nothing was stored, try again")},
	MustBeAlone:       {"must-be-alone", say(452, 4, 5, 3, "Send to this recipient in a transaction of its own")},
	Changed:           {"changed", say(451, 4, 2, 1, "A recipient has just changed, nothing was stored, try again")},
	TooManyRecipients: {"too-many-recipients", say(452, 4, 5, 3, "Too many recipients, send to the others in another transaction")},

	TooLarge:    {"too-large", say(552, 5, 3, 4, "The message is too large")},
	TooManyHops: {"too-many-hops", say(554, 5, 4, 6, "Too many hops, the message is caught in a loop")},
	BareNewline: {"bare-newline", say(550, 5, 6, 0, "The content has CR or LF alone; lines end in CRLF")},
	Incomplete:  {"incomplete", say(451, 4, 4, 2, "The content did not arrive whole")},

	NoSpace:  {"no-space", say(452, 4, 3, 1, "Insufficient system storage, try again later")},
	NoMemory: {"no-memory", say(451, 4, 3, 2, "Too much mail at once, try again later")},
	Failure:  {"failure", say(451, 4, 3, 0, "Temporary failure, try again later")},

	BadSender:        {"bad-sender", say(501, 5, 1, 7, "Bad address in the reverse-path")},
	SenderNoDomain:   {"sender-without-domain", say(501, 5, 1, 7, "The reverse-path has no domain: write <name@domain>")},
	SenderBareAt:     {"sender-with-bare-at", say(501, 5, 1, 7, "A second @ in the reverse-path needs quotes around the local part")},
	BadRecipient:     {"bad-recipient", say(501, 5, 1, 3, "Bad address in the forward-path")},
	RecipientDomain:  {"recipient-without-domain", say(501, 5, 1, 3, "The forward-path has no domain: write <name@domain>")},
	RecipientBareAt:  {"recipient-with-bare-at", say(501, 5, 1, 3, "A second @ in the forward-path needs quotes around the local part")},
	NeedsUTF8:        {"needs-smtputf8", say(553, 5, 6, 7, "An address beyond ASCII needs SMTPUTF8")},
	NoName:           {"no-name", Reply{Code: 501, Text: "EHLO and HELO take the name of the client"}},
	NotGreeted:       {"not-greeted", say(503, 5, 5, 1, "EHLO or HELO comes first")},
	Nested:           {"nested", say(503, 5, 5, 1, "A mail transaction is open already; RSET ends it")},
	NoTransaction:    {"no-transaction", say(503, 5, 5, 1, "No mail transaction is open")},
	NoRecipients:     {"no-recipients", say(503, 5, 5, 1, "No recipient has been accepted")},
	UnknownCommand:   {"unknown-command", say(500, 5, 5, 2, "Command not recognised")},
	UnknownParameter: {"unknown-parameter", say(555, 5, 5, 4, "Parameter not recognised")},

	// In the words of RFC 5321 section 4.2.2.
	NotImplemented:        {"not-implemented", say(502, 5, 5, 1, "Command not implemented")},
	ParameterNotSupported: {"parameter-not-supported", say(504, 5, 5, 4, "Parameter not implemented")},

	Syntax:         {"syntax", say(501, 5, 5, 2, "Syntax error")},
	LineTooLong:    {"line-too-long", say(500, 5, 5, 2, "Line too long")},
	NoAuth:         {"no-auth", say(502, 5, 5, 1, "AUTH is not offered here")},
	BadChunk:       {"bad-chunk", say(501, 5, 5, 4, "BDAT takes a size and LAST, closing connection")},
	BetweenChunks:  {"between-chunks", say(503, 5, 5, 1, "Not allowed between chunks")},
	TLSArgument:    {"tls-argument", say(501, 5, 5, 4, "STARTTLS takes no parameters")},
	TLSActive:      {"tls-active", say(503, 5, 5, 1, "TLS is active already")},
	TLSFailed:      {"tls-failed", say(454, 4, 7, 0, "TLS handshake failed")},
	TooManyErrors:  {"too-many-errors", say(421, 4, 7, 0, "Too many errors, closing connection")},
	TooManyRefused: {"too-many-refusals", say(421, 4, 7, 0, "Too many refusals, closing connection")},
	Slowed:         {"slowed", say(450, 4, 7, 1, "Too many unknown recipients from your network, try again later")},
	TooManyGuesses: {"too-many-guesses", say(421, 4, 7, 0, "Too many unknown recipients from your network, try again later")},
}

// Name returns the name of the reason in the log, such as "no-mailbox".
func (r Reason) Name() string { return table[r].name }

// Reply returns the reply to a client of host. The text of [NotHosted] names the host,
// since most clients that try to relay are mail programs set up wrongly. It names no
// domain that is hosted.
func (r Reason) Reply(host string) Reply {
	reply := table[r].reply
	if r == NotHosted {
		reply.Text = fmt.Sprintf(reply.Text, host)
	}
	return reply
}

// Temporary reports whether the same command may succeed later (4xx).
func (r Reason) Temporary() bool { return table[r].reply.Code < 500 }

// Refusal is a refusal with its reason, as an error.
type Refusal struct {
	Reason Reason
	Detail string // for the log, never sent to the peer
}

// New returns a Refusal with a detail for the log, which is formatted as by fmt.Sprintf.
func New(r Reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: r, Detail: fmt.Sprintf(format, args...)}
}

func (r *Refusal) Error() string {
	if r.Detail == "" {
		return "refused: " + r.Reason.Name()
	}
	return "refused: " + r.Detail
}

// Of returns the Refusal that err is or wraps, or nil.
func Of(err error) *Refusal {
	var r *Refusal
	errors.As(err, &r)
	return r
}
