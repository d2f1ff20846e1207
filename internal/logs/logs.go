// Package logs is the fixed vocabulary of log lines: the events, the keys of their
// attributes, and how a line is written. People search for these words and programs count
// them, so they change only with an entry in the CHANGELOG. No password and no message
// content ever reaches a line.
package logs

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// Events, the message of a line. One line per event.
const (
	Start          = "listening"       // a socket is open
	Ready          = "ready"           // the server has started
	Stop           = "stopped"         // the server has drained
	Reload         = "reloaded"        // SIGHUP or a command was obeyed
	Accepted       = "accepted"        // a message was committed
	Refused        = "refused"         // a command or a message was refused
	LeftOut        = "left out"        // a target of an alias cannot take a message that others got
	Failed         = "failed"          // an unexpected error; the peer heard a temporary failure
	Login          = "login"           // a mailbox was opened
	LoginFailed    = "login failed"    // a login was refused
	Expunged       = "expunged"        // messages were removed
	Change         = "changed"         // a command changed a domain, a mailbox or an alias
	SessionEnd     = "session end"     // a connection is over
	ConnectRefused = "connect refused" // over a limit
	Storage        = "storage"         // the store's own condition changed
	Warning        = "warning"         // something an administrator should look at
)

// Keys of the attributes.
const (
	Proto    = "proto"   // smtp, pop3
	Client   = "client"  // address of the peer
	ID       = "id"      // of a message
	From     = "from"    // reverse-path
	To       = "to"      // forward-path or paths
	Mailbox  = "mailbox" // address
	Octets   = "octets"
	Messages = "messages"
	Refusals = "refused" // how many
	Code     = "code"    // name of a refusal, of a fixed set (internal/refusal)
	Reason   = "reason"
	Reply    = "reply" // what the peer heard
	Error    = "error" // the cause, never told to the peer
	TLS      = "tls"   // version and suite; empty without TLS
	Duration = "duration"
	Delay    = "delay"   // how long a login was held back for failures before
	Address  = "address" // of a socket
	Helo     = "helo"
	Hostname = "hostname" // the server's own
	Version  = "version"
	Config   = "config" // the configuration file; empty: none
	DataDir  = "data_dir"
	Changed  = "changed" // keys that a reload applied
	By       = "by"      // the user who gave a command
	Sudo     = "sudo"    // who became root for it, as sudo says
	Action   = "action"  // what a command did, such as "mailbox add"
	Domain   = "domain"
	Alias    = "alias"
	Targets  = "targets" // of an alias: added, or removed
	File     = "file"
	Expires  = "expires" // the certificate in use
	// What a command set, in words: "inherit" for what counts around it.
	Quota         = "quota"
	MessageLimit  = "message_limit"
	KeepRetrieved = "keep_retrieved"
	UndeleteFor   = "undelete_for"
	Postmaster    = "postmaster" // empty: the first mailbox
	// Goroutines is the number of goroutines of the process. While nobody is connected
	// it stays about the same; if it grows, goroutines leak.
	Goroutines = "goroutines"
)

// New returns a logger that writes lines at or above level to w, in format "text" or
// "json". The level may be changed while the logger is in use. Lines are safe to show on a
// terminal, see [Escape].
func New(w io.Writer, format string, level *slog.LevelVar) (*slog.Logger, error) {
	w = Escaping(w)
	options := &slog.HandlerOptions{Level: level}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, fmt.Errorf("log.format %q: write text or json", format)
}

// Text makes the text of a peer fit for a log line: invisible characters, and those that a
// terminal would obey, become "?". A text of more than most octets is cut and ends in "…".
func Text(s string, most int) string {
	if len(s) > most {
		for most > 0 && !utf8.RuneStart(s[most]) {
			most--
		}
		s = s[:most] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// Discard returns a logger that writes nothing, for tests.
func Discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// Recorder keeps lines in memory for tests. It is safe for concurrent use. The zero
// Recorder is ready.
type Recorder struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (r *Recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

// String returns all that was written.
func (r *Recorder) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}
