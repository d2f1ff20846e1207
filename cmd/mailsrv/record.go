package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"mailsrv/internal/logs"
)

// recorder writes what a command changed to the system's log, which it opens at the first
// line. If that fails, as in containers without a log, the command goes on: the change is
// made.
type recorder struct {
	open   func() (io.WriteCloser, error) // nil: nothing is recorded
	failed error                          // the first failure
}

// logger returns the logger of one command. Each line names the user who gave it.
func (r *recorder) logger(env environment) *slog.Logger {
	by, sudo := whoIs(env.uid, env.variables)
	logger := slog.New(slog.NewTextHandler(logs.Escaping(r), nil)).With(logs.By, by)
	if sudo != "" {
		logger = logger.With(logs.Sudo, sudo)
	}
	return logger
}

// Write takes one line.
func (r *recorder) Write(line []byte) (int, error) {
	if r.open == nil {
		return len(line), nil
	}
	err := r.write(line)
	if r.failed == nil {
		r.failed = err
	}
	return len(line), err
}

func (r *recorder) write(line []byte) error {
	w, err := r.open()
	if err != nil {
		return err
	}
	defer w.Close()
	_, err = w.Write(line)
	return err
}

// whoIs returns the user who gave a command, and the user for whom sudo ran it, as the
// environment names it. If the user is not root, the environment is the user's own claim.
func whoIs(uid int, variables []string) (by, sudo string) {
	by = strconv.Itoa(uid)
	if u, err := user.LookupId(by); err == nil {
		by = u.Username
	}
	for _, entry := range variables {
		if name, found := strings.CutPrefix(entry, "SUDO_USER="); found {
			sudo = name
		}
	}
	return by, sudo
}

// syslogWriter sends each line to the socket of the system's log.
type syslogWriter struct{ net.Conn }

// dialSyslog opens the socket, of which there are two kinds.
func dialSyslog(socket string) (io.WriteCloser, error) {
	c, err := net.DialTimeout("unixgram", socket, syslogTimeout)
	if err != nil {
		c, err = net.DialTimeout("unix", socket, syslogTimeout)
	}
	if err != nil {
		return nil, err
	}
	return syslogWriter{c}, nil
}

// syslogTimeout bounds the time that a command waits for a log that is stuck.
const syslogTimeout = 5 * time.Second

// Write puts a line into the form of RFC 3164, as the C library writes it to a local
// log: mail, informational.
func (w syslogWriter) Write(line []byte) (int, error) {
	const priority = 2<<3 | 6
	w.SetWriteDeadline(time.Now().Add(syslogTimeout))
	end := ""
	if w.RemoteAddr().Network() == "unix" { // a stream
		end = "\n"
	}
	_, err := fmt.Fprintf(w.Conn, "<%d>%s mailsrv[%d]: %s%s", priority, time.Now().Format(time.Stamp), os.Getpid(),
		bytes.TrimSuffix(line, []byte("\n")), end)
	return len(line), err
}
