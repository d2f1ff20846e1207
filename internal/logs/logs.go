// Package logs is the fixed vocabulary of log lines: which events there are,
// which keys they carry, and how a line is written. A person greps for these
// words, and programs count them; they change only with an entry in the
// CHANGELOG. No password and no message content ever reaches a line.
package logs

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"sync"
)

// Events, the message of a line. One line per event.
const (
	Start          = "listening"       // a socket is open
	Ready          = "ready"           // the server has started
	Stop           = "stopped"         // the server has drained
	Reload         = "reloaded"        // SIGHUP was obeyed
	Accepted       = "accepted"        // a message was committed
	Refused        = "refused"         // a recipient or a message was refused
	Failed         = "failed"          // an unexpected error; the peer heard a temporary failure
	Login          = "login"           // a mailbox was opened
	LoginFailed    = "login failed"    // a login was refused
	Expunged       = "expunged"        // messages were removed
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
	File     = "file"
	Expires  = "expires" // the certificate in use
	// Goroutines is how many the process has: with nobody connected always about as
	// many, or one has no owner that ends it.
	Goroutines = "goroutines"
)

// New returns a logger that writes lines in format "text" or "json" at or above
// level. The level may be changed while the logger is in use.
func New(w io.Writer, format string, level *slog.LevelVar) (*slog.Logger, error) {
	options := &slog.HandlerOptions{Level: level}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, fmt.Errorf("log.format %q: write text or json", format)
}

// Discard is a logger for tests.
func Discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// Recorder keeps lines in memory for tests, which may read while others write.
// The zero Recorder is ready.
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
