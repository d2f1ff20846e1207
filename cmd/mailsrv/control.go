package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"mailsrv/internal/logs"
)

// The control socket lets commands ask the running server for what only it can do:
// today one line, "reload", answered by one line of JSON.
const (
	controlName    = "control"
	reloadRequest  = "reload"
	maxRequest     = 256       // octets
	maxReply       = 256 << 10 // octets
	requestTimeout = 10 * time.Second
	replyTimeout   = time.Minute // a reload reads a few files
)

// reloadReply is what came of a reload.
type reloadReply struct {
	Error   string   `json:"error,omitempty"` // nothing was applied; else all of
	Changed []string `json:"changed"`         // keys
	Restart []string `json:"restart"`         // keys that wait for a restart
}

// control is the server's end of the socket.
type control struct {
	listener *net.UnixListener
	file     string
	logger   *slog.Logger
	reloads  chan chan<- reloadReply // for whoever runs the server
	stopping chan struct{}
	running  sync.WaitGroup

	mu   sync.Mutex
	conn net.Conn // being answered
}

// openControl opens the socket in a data directory of which the caller holds the
// lock, so that one that is there was left by a server that was killed.
func openControl(dir string, logger *slog.Logger) (*control, error) {
	file := filepath.Join(dir, controlName)
	if info, err := os.Lstat(file); err == nil && info.Mode().Type() == fs.ModeSocket {
		if err := os.Remove(file); err != nil {
			return nil, err
		}
	}
	path, done, err := socketPath(file)
	if err != nil {
		return nil, err
	}
	defer done()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // the path may be a short one that is gone by then
	if err := os.Chmod(file, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	c := &control{
		listener: l, file: file, logger: logger,
		reloads: make(chan chan<- reloadReply), stopping: make(chan struct{}),
	}
	c.running.Go(c.serve)
	return c, nil
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

// serve answers one connection after another until close.
func (c *control) serve() {
	for {
		conn, err := c.listener.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // too many open files, for one
			select {
			case <-c.stopping:
				return
			case <-time.After(100 * time.Millisecond):
				continue
			}
		}
		conn.SetDeadline(time.Now().Add(requestTimeout)) // before close may shorten it
		if !c.hold(conn) {
			return
		}
		c.answer(conn)
		c.hold(nil)
		conn.Close()
	}
}

// hold notes which connection close has to end; false once it was called.
func (c *control) hold(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.stopping:
		if conn != nil {
			conn.Close()
		}
		return false
	default:
		c.conn = conn
		return true
	}
}

func (c *control) answer(conn *net.UnixConn) {
	reply := reloadReply{Error: "the server is stopping"}
	line, err := bufio.NewReader(io.LimitReader(conn, maxRequest)).ReadString('\n')
	switch {
	case !mayControl(conn):
		reply.Error = "only root and the user who runs the server may ask for this"
	case err != nil:
		reply.Error = "the request is no line of at most " + strconv.Itoa(maxRequest) + " octets, or did not come in time"
	case line != reloadRequest+"\n":
		reply.Error = "this server does not know the request: is it another version than the command?"
	default:
		answer := make(chan reloadReply, 1)
		select {
		case c.reloads <- answer:
			reply = <-answer
		case <-c.stopping:
		}
	}
	conn.SetDeadline(time.Now().Add(requestTimeout))
	if err := json.NewEncoder(conn).Encode(reply); err != nil {
		c.logger.Debug(logs.Warning, logs.Reason, "a command did not wait for its answer", logs.Error, err.Error())
	}
}

// mayControl reports whether the peer is root or the server's own user. The mode of
// the socket says the same; this holds also where somebody changes it.
func mayControl(conn *net.UnixConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	allowed := false
	raw.Control(func(fd uintptr) {
		peer, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
		allowed = err == nil && (peer.Uid == 0 || int(peer.Uid) == os.Geteuid())
	})
	return allowed
}

// requests is where reloads are asked for; nil, which is silent, without a socket.
func (c *control) requests() <-chan chan<- reloadReply {
	if c == nil {
		return nil
	}
	return c.reloads
}

// close ends the socket and takes it away; the data directory's lock must still be
// held.
func (c *control) close() {
	if c == nil {
		return
	}
	c.mu.Lock()
	close(c.stopping)
	if c.conn != nil {
		c.conn.SetDeadline(time.Now())
	}
	c.mu.Unlock()
	c.listener.Close()
	c.running.Wait()
	os.Remove(c.file)
}

// askReload asks the server that runs on a data directory to reload.
func askReload(dir string) (reply reloadReply, err error) {
	path, done, err := socketPath(filepath.Join(dir, controlName))
	if err != nil {
		return reply, err
	}
	defer done()
	conn, err := net.DialTimeout("unix", path, requestTimeout)
	if err != nil {
		return reply, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(replyTimeout))
	if _, err := io.WriteString(conn, reloadRequest+"\n"); err != nil {
		return reply, fmt.Errorf("ask the server: %w", err)
	}
	if err := json.NewDecoder(io.LimitReader(conn, maxReply)).Decode(&reply); err != nil {
		return reply, fmt.Errorf("the server did not answer: %w: see its log", err)
	}
	return reply, nil
}
