package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"path/filepath"
	"syscall"
	"time"
)

// ErrNoServer: no server runs on the data directory.
var ErrNoServer = errors.New("no server runs here")

// Refused is an error with the server's reason for not carrying out a request.
type Refused string

func (r Refused) Error() string { return string(r) }

// Reload asks the server that runs on a data directory to reload. Errors: [ErrNoServer],
// [Refused], or that of the connection.
func Reload(dir string) (Reloaded, error) {
	answer, err := ask(dir, request{Do: "reload"})
	if err != nil || answer.Reloaded == nil {
		return Reloaded{}, err
	}
	return *answer.Reloaded, nil
}

// Sessions returns the connections that are open. Errors as for [Reload].
func Sessions(dir string) ([]Session, error) {
	answer, err := ask(dir, request{Do: "sessions"})
	return answer.Sessions, err
}

// EndSession ends one connection, and reports whether there was one with that id. Errors
// as for [Reload].
func EndSession(dir, id string) (bool, error) {
	answer, err := ask(dir, request{Do: "end", ID: id})
	return answer.Ended, err
}

// ask sends a request and reads the reply.
func ask(dir string, r request) (answer reply, err error) {
	path, done, err := socketPath(filepath.Join(dir, Name))
	if errors.Is(err, fs.ErrNotExist) {
		return answer, ErrNoServer
	}
	if err != nil {
		return answer, err
	}
	defer done()
	conn, err := net.DialTimeout("unix", path, requestTimeout)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return answer, ErrNoServer
	case err != nil:
		return answer, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(replyTimeout))
	if err := json.NewEncoder(conn).Encode(r); err != nil {
		return answer, fmt.Errorf("ask the server: %w", err)
	}
	if err := json.NewDecoder(io.LimitReader(conn, maxReply)).Decode(&answer); err != nil {
		return answer, fmt.Errorf("the server did not answer: %w: see its log", err)
	}
	if answer.Error != "" {
		return answer, Refused(answer.Error)
	}
	return answer, nil
}
