package pop3d

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"mailsrv/internal/auth"
	"mailsrv/internal/listen"
	"mailsrv/internal/logs"
	"mailsrv/internal/wire"
	"mailsrv/quota"
	"mailsrv/storage"
)

// Bounds on what one session may do.
const (
	maxCommand  = 255      // octets of a command line with its CRLF, RFC 2449 section 4
	maxResponse = 12 << 10 // octets of a line that carries a password, also as an answer to AUTH's challenge
	maxMistakes = 20       // commands that are unknown or wrong in their place
	maxFailures = 3        // logins refused
)

// overDraining is the logged reason of a session that a drain ends.
const overDraining = "server is shutting down"

// session is one connection. It is in AUTHORIZATION until maildrop is set, then
// in TRANSACTION.
type session struct {
	server   *Server
	settings Settings
	begun    time.Time
	wire     *stream
	tls      *tls.Conn // nil until TLS is on
	tlsName  string    // version and suite
	input    wire.Input
	in       *bufio.Reader
	out      wire.Output
	mistakes int
	over     string // why the session ends; empty until it does
	cause    error  // the error behind over, if no other line logs it

	// AUTHORIZATION
	name     string // from USER
	failures int

	// TRANSACTION
	login    auth.Login
	asked    time.Time // when login was last known to stand
	maildrop storage.Maildrop
	held     quota.Usage // what the maildrop shows
	snapshot snapshot    // once loaded
	listed   func()      // ends the counting of the snapshot's memory; nil: not counted
	loaded   bool
	marks    set         // messages marked as deleted
	marked   quota.Usage // what marks hold
	noted    set         // messages retrieved, if the mailbox removes those after a time
	sent     quota.Usage // by RETR
}

// serve runs one session from greeting to close.
func (s *Server) serve(c *listen.Conn, implicitTLS bool) {
	n := &session{server: s, settings: *s.settings.Load(), begun: time.Now()}
	n.wire = &stream{Conn: c, idle: n.settings.IdleTimeout, minRate: n.settings.MinRate, ctx: s.ctx}
	n.out.Writers = s.writers
	n.in = bufio.NewReaderSize(nil, readBuffer)
	n.speakOver(n.wire)
	defer n.close()
	n.run(implicitTLS)
}

// speakOver makes c the stream of commands and replies. What was read from the former
// stream and not obeyed yet is thrown away.
func (s *session) speakOver(c net.Conn) {
	s.out.To = c
	s.input = wire.Input{From: c, Out: &s.out}
	s.in.Reset(&s.input)
}

func (s *session) run(implicitTLS bool) {
	if implicitTLS {
		s.startTLS()
	}
	if s.over == "" {
		s.reply("+OK " + s.server.hostname + " POP3 server ready")
	}
	for s.over == "" {
		line, err := s.readLine(s.longest)
		switch {
		case err != nil && !errors.Is(err, wire.ErrTooLong):
			s.unreadable(err)
		case s.wire.lost != nil:
			s.dispossessed(s.wire.lost)
		case err != nil:
			s.mistake(replyTooLong)
		default:
			s.obey(line)
		}
	}
}

// dispossessed ends a session that has lost the claim on its maildrop.
func (s *session) dispossessed(why error) {
	s.over = "maildrop taken over"
	if errors.Is(why, storage.ErrTaken) {
		s.reply(replyTakenOver)
		return
	}
	s.over = "maildrop not held"
	s.fail(fmt.Errorf("hold the maildrop: %w", why))
	s.reply(replyTemporary)
}

// obey hands one command to the state that the session is in.
func (s *session) obey(line []byte) {
	verb, argument, _ := strings.Cut(string(line), " ")
	verb = wire.Keyword(verb)
	obeyed := true
	switch {
	case s.maildrop == nil:
		obeyed = s.authorization(verb, argument)
	case s.stands(verb):
		obeyed = s.transaction(verb, argument)
	}
	if !obeyed {
		s.mistake(replyUnknown)
	}
}

// without obeys a command that takes no argument.
func (s *session) without(argument string, command func()) {
	if strings.Trim(argument, " ") != "" {
		s.mistake(replyNoArgument)
		return
	}
	command()
}

// longest returns the longest permitted command line that begins with begun, in octets.
// Commands that carry a password may be longer than RFC 2449 section 4 allows: passwords
// may have 1,024 octets, which no line of 255 could carry.
func (s *session) longest(begun []byte) int {
	if s.maildrop == nil {
		for _, verb := range []string{"PASS ", "AUTH "} {
			if len(begun) >= len(verb) && bytes.EqualFold(begun[:len(verb)], []byte(verb)) {
				return maxResponse
			}
		}
	}
	return maxCommand
}

// readLine returns the next line without its end, valid until the next call. longest
// returns the bound on the line, its end included, from what has come of it. A longer line
// is skipped: wire.ErrTooLong. The whole line must come within the idle timeout.
func (s *session) readLine(longest func(begun []byte) int) ([]byte, error) {
	s.wire.deadline = time.Now().Add(s.settings.IdleTimeout)
	line, err := wire.ReadLine(s.in, longest, 0)
	return wire.Trim(line), err
}

// unreadable ends a session after a failed read, and notes why.
func (s *session) unreadable(err error) {
	switch timeout := errors.Is(err, os.ErrDeadlineExceeded); {
	case errors.Is(s.out.Err, errYield):
		s.over = errYield.Error()
	case errors.Is(s.out.Err, errTooSlow):
		s.over = "client reads too slowly"
	case s.out.Err != nil && timeout:
		s.over = "client does not read"
	case s.out.Err != nil:
		s.over, s.cause = "connection lost", err
	case s.wire.Ended():
		s.reply(replyEnded)
		s.over = "ended by the administrator"
	case s.wire.Draining():
		s.reply(replyDraining)
		s.over = overDraining
	case timeout:
		// RFC 1939 section 3: no reply, and nothing is deleted.
		s.over = "idle timeout"
	case errors.Is(err, io.EOF):
		s.over = "client closed"
	default:
		s.over, s.cause = "connection lost", err
	}
}

// stls begins TLS (RFC 2595 section 4).
func (s *session) stls() {
	switch {
	case s.tls != nil:
		s.mistake(replyTLSAlready)
		return
	case s.server.tls == nil:
		s.mistake(replyNoTLS)
		return
	}
	s.reply(replyBeginTLS)
	if err := s.out.Flush(); err != nil {
		s.unreadable(err)
		return
	}
	s.name = "" // nothing the client said before counts
	s.startTLS()
}

// startTLS makes the TLS handshake. Commands that came in the clear after STLS are thrown
// away: an attacker in the middle may have inserted them.
func (s *session) startTLS() {
	c := tls.Server(s.wire, s.server.tls)
	s.wire.deadline = time.Now().Add(s.settings.HandshakeTimeout)
	if err := c.Handshake(); err != nil {
		s.over, s.cause = "TLS handshake failed", err
		return
	}
	s.tls, s.tlsName = c, listen.TLSName(c.ConnectionState())
	s.wire.Know("", s.tlsName)
	s.speakOver(c)
}

// close ends the connection, whatever the session was doing.
func (s *session) close() {
	if p := recover(); p != nil {
		// Nothing more is sent. The group logs the panic and goes on with other sessions.
		s.over, s.out.Err = "panic", errors.New("panic")
		defer panic(p)
	}
	s.release()
	s.wire.CloseFollows()
	if err := s.out.Flush(); err == nil && s.tls != nil {
		s.tls.CloseWrite() // says that nothing was cut off
	}
	attributes := []slog.Attr{
		slog.String(logs.Reason, s.over), slog.Duration(logs.Duration, time.Since(s.begun).Round(time.Millisecond)),
		slog.Int64(logs.Messages, s.sent.Messages), slog.Int64(logs.Octets, s.sent.Octets),
	}
	if s.cause != nil {
		attributes = append(attributes, slog.Any(logs.Error, s.cause))
	}
	level := slog.LevelInfo
	if s.wire.Probe() { // health checks of a proxy come often
		level = slog.LevelDebug
	}
	s.log(level, logs.SessionEnd, attributes...)
	s.wire.Close()
}

// release releases the claim on the maildrop and the memory of its snapshot.
func (s *session) release() {
	if s.wire.claim != nil {
		s.wire.claim.Release()
		s.wire.claim = nil
	}
	s.snapshot.free(s.server.memory)
	if s.listed != nil {
		s.listed()
		s.listed = nil
	}
}

// log writes a line with the attributes that all lines of a session have.
func (s *session) log(level slog.Level, event string, attributes ...slog.Attr) {
	ctx := context.Background()
	if !s.server.logger.Enabled(ctx, level) {
		return
	}
	all := append(make([]slog.Attr, 0, 12), slog.String(logs.Proto, "pop3"),
		slog.Any(logs.Client, s.wire.Client()), slog.String(logs.TLS, s.tlsName))
	if s.maildrop != nil {
		all = append(all, slog.String(logs.Mailbox, s.login.Address.String()))
	}
	s.server.logger.LogAttrs(ctx, level, event, append(all, attributes...)...)
}

// fail logs an unexpected error.
func (s *session) fail(err error, attributes ...slog.Attr) {
	s.log(slog.LevelError, logs.Failed, append(attributes, slog.Any(logs.Error, err))...)
}
