// Package control lets commands ask the running server for what only it knows or can
// do: [Reload], [Sessions], [EndSession]. The server's end is [Server], on a unix socket
// in the data directory, for root and the server's own user. Changes that must apply on
// all machines of a store go through the store instead.
//
// A command sends one line of JSON and gets one line back.
package control

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// Name is the file name of the socket in the data directory.
const Name = "control"

const (
	maxRequest     = 1 << 10 // octets
	maxReply       = 8 << 20 // octets; some 20,000 sessions
	requestTimeout = 10 * time.Second
	replyTimeout   = time.Minute // a reload reads a few files
)

// Handler is the running server. A [Server] calls it from a goroutine of its own, for one
// request at a time.
type Handler interface {
	// Reload reads the configuration again. It returns early when ctx ends.
	Reload(ctx context.Context) Reloaded
	// Sessions returns the connections that are open.
	Sessions() []Session
	// EndSession ends a connection, and reports whether there was one with that id.
	EndSession(id string) bool
}

// Reloaded is the result of a reload.
type Reloaded struct {
	Error   string    `json:"error,omitempty"`  // if set, nothing was applied
	Changed []string  `json:"changed"`          // keys whose new value is applied
	Restart []string  `json:"restart"`          // keys whose new value needs a restart
	Expires time.Time `json:"expires,omitzero"` // end of the certificate, which was read again
}

// Session is one open connection.
type Session struct {
	ID      string     `json:"id"`
	Proto   string     `json:"proto"`
	Client  netip.Addr `json:"client"`
	Who     string     `json:"who"` // mailbox, or the client's name in EHLO; may be empty
	TLS     string     `json:"tls"` // version and suite; empty without TLS
	Since   time.Time  `json:"since"`
	Waiting bool       `json:"waiting"` // for the client's next command
}

// request is what a command asks for.
type request struct {
	Do string `json:"do"` // reload, sessions, end
	ID string `json:"id,omitempty"`
}

// reply is the answer to a request. If Error is set, the request was not carried out.
type reply struct {
	Error    string    `json:"error,omitempty"`
	Reloaded *Reloaded `json:"reloaded,omitempty"`
	Sessions []Session `json:"sessions,omitempty"`
	Ended    bool      `json:"ended,omitempty"`
}

// socketPath returns a path of the socket file that is short enough for the kernel, at
// most 107 octets. It is valid until done is called.
func socketPath(file string) (path string, done func(), err error) {
	if len(file) < len(syscall.RawSockaddrUnix{}.Path) {
		return file, func() {}, nil
	}
	dir, err := os.Open(filepath.Dir(file))
	if err != nil {
		return "", nil, err
	}
	return "/proc/self/fd/" + strconv.Itoa(int(dir.Fd())) + "/" + filepath.Base(file), func() { dir.Close() }, nil
}
