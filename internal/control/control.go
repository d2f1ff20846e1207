// Package control lets commands ask the running server for what only it knows or can
// do: a reload, the sessions that are open. It is a unix socket in the data directory,
// for root and the server's own user. What must hold on all machines of a store goes
// through the store instead.
//
// A command sends one line of JSON and gets one back.
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

// Name of the socket in the data directory.
const Name = "control"

const (
	maxRequest     = 1 << 10 // octets
	maxReply       = 8 << 20 // octets; some 20,000 sessions
	requestTimeout = 10 * time.Second
	replyTimeout   = time.Minute // a reload reads a few files
)

// Handler is the running server.
type Handler interface {
	// Reload reads the configuration again. It returns early when ctx ends.
	Reload(ctx context.Context) Reloaded
	// Sessions lists the connections that are open.
	Sessions() []Session
	// EndSession ends one, and reports whether there was one of that id.
	EndSession(id string) bool
}

// Reloaded is what came of a reload.
type Reloaded struct {
	Error   string    `json:"error,omitempty"`  // nothing was applied; else all of
	Changed []string  `json:"changed"`          // keys
	Restart []string  `json:"restart"`          // keys that wait for a restart
	Expires time.Time `json:"expires,omitzero"` // the certificate, which is read again each time
}

// Session is one open connection.
type Session struct {
	ID      string     `json:"id"`
	Proto   string     `json:"proto"`
	Client  netip.Addr `json:"client"`
	Who     string     `json:"who"` // mailbox, or what the client calls itself; may be empty
	TLS     string     `json:"tls"` // version and suite; empty without TLS
	Since   time.Time  `json:"since"`
	Waiting bool       `json:"waiting"` // for the client's next command
}

// request is what a command asks for.
type request struct {
	Do string `json:"do"` // reload, sessions, end
	ID string `json:"id,omitempty"`
}

// reply answers every request; Error says that it was not carried out.
type reply struct {
	Error    string    `json:"error,omitempty"`
	Reloaded *Reloaded `json:"reloaded,omitempty"`
	Sessions []Session `json:"sessions,omitempty"`
	Ended    bool      `json:"ended,omitempty"`
}

// socketPath returns a path of a socket that is short enough for the kernel, which
// takes 107 octets, until done is called.
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
