package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"mailsrv/internal/logs"
)

// Server is the server's end of the socket. It answers one request at a time.
type Server struct {
	handler  Handler
	listener *net.UnixListener
	file     string
	logger   *slog.Logger
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	running  sync.WaitGroup

	mu   sync.Mutex
	conn net.Conn // of the request at hand
}

// Open opens the socket in a data directory. The caller holds the directory's lock, so a
// socket that exists is of a server that was killed, and is replaced. The caller calls
// Close while it still holds the lock.
func Open(dir string, h Handler, logger *slog.Logger) (*Server, error) {
	file := filepath.Join(dir, Name)
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
	l.SetUnlinkOnClose(false) // a short path is not valid any more at Close
	if err := os.Chmod(file, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	s := &Server{handler: h, listener: l, file: file, logger: logger}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.running.Go(s.serve)
	return s, nil
}

// serve answers one connection after another until Close.
func (s *Server) serve() {
	for {
		conn, err := s.listener.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // such as too many open files
			select {
			case <-s.ctx.Done():
				return
			case <-time.After(100 * time.Millisecond):
				continue
			}
		}
		conn.SetDeadline(time.Now().Add(requestTimeout)) // before hold: Close may shorten it
		if !s.hold(conn) {
			return
		}
		s.answer(conn)
		s.hold(nil)
		conn.Close()
	}
}

// hold notes the connection that Close has to end. It returns false after Close.
func (s *Server) hold(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		if conn != nil {
			conn.Close()
		}
		return false
	}
	s.conn = conn
	return true
}

func (s *Server) answer(conn *net.UnixConn) {
	var answer reply
	line, err := bufio.NewReader(io.LimitReader(conn, maxRequest)).ReadString('\n')
	switch {
	case !mayControl(conn):
		answer.Error = "only root and the user who runs the server may ask for this"
	case err != nil:
		answer.Error = fmt.Sprintf("the request is no line of at most %d octets, or did not come in time", maxRequest)
	default:
		answer = s.obey(line)
	}
	conn.SetDeadline(time.Now().Add(requestTimeout))
	if err := json.NewEncoder(conn).Encode(answer); err != nil {
		s.logger.Debug(logs.Warning, logs.Reason, "a command did not wait for its answer", logs.Error, err.Error())
	}
}

func (s *Server) obey(line string) reply {
	var asked request
	if json.Unmarshal([]byte(line), &asked) == nil {
		switch asked.Do {
		case "reload":
			came := s.handler.Reload(s.ctx)
			return reply{Reloaded: &came}
		case "sessions":
			return reply{Sessions: s.handler.Sessions()}
		case "end":
			return reply{Ended: s.handler.EndSession(asked.ID)}
		}
	}
	return reply{Error: "this server does not know the request: is it another version than the command?"}
}

// mayControl reports whether the peer is root or the server's own user. It does not
// rely on the mode of the socket, which somebody may change.
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

// Close ends the request at hand and removes the socket. It may be called on a nil Server.
func (s *Server) Close() {
	if s == nil {
		return
	}
	s.mu.Lock()
	s.cancel()
	if s.conn != nil {
		s.conn.SetDeadline(time.Now())
	}
	s.mu.Unlock()
	s.listener.Close()
	s.running.Wait()
	os.Remove(s.file)
}
