package smtpd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"time"

	"github.com/emersion/go-smtp"

	"mailsrv/delivery"
	"mailsrv/internal/logs"
	"mailsrv/internal/mail"
)

// maxRefused is how many refused recipients one session may have: beyond it,
// somebody is harvesting the directory.
const maxRefused = 50

// session is the backend's side of a connection, from EHLO on, used by the
// library's goroutine for it alone.
type session struct {
	server  *Server
	library *smtp.Conn
	conn    *conn
	logger  *slog.Logger
	ctx     context.Context
	cancel  context.CancelFunc
	began   time.Time

	transaction *delivery.Transaction // nil: none is open
	utf8        bool                  // addresses may go beyond ASCII (RFC 6531)
	ended       bool
	accepted    int // messages
	refused     int // recipients
}

func newSession(s *Server, library *smtp.Conn) *session {
	c := library.Conn().(*conn)
	ctx, cancel := context.WithCancel(s.life)
	return &session{
		server: s, library: library, conn: c, ctx: ctx, cancel: cancel, began: time.Now(),
		logger: s.config.Logger.With(logs.Proto, "smtp", logs.Client, c.base.Client()),
	}
}

// Mail implements smtp.Session.
func (s *session) Mail(from string, opts *smtp.MailOptions) error {
	if s.transaction != nil {
		return replyNested
	}
	var reversePath mail.Address
	if from != "" {
		var err error
		if reversePath, err = mail.SplitAddress(from); err != nil {
			return replyBadSender
		}
		if !opts.UTF8 && !isASCII(from) {
			return replyNeedUTF8
		}
	}
	client := mail.Client{
		Addr:     s.conn.base.Client(),
		Helo:     s.library.Hostname(),
		Protocol: mail.ProtocolName(s.conn.extended, s.conn.tls != "", opts.UTF8),
		TLS:      s.conn.tls,
	}
	s.transaction = s.server.config.Agent.Begin(client, reversePath, opts.Size)
	s.utf8 = opts.UTF8
	return nil
}

// Rcpt implements smtp.Session.
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	t := s.transaction
	if t == nil {
		return replyNoMail
	}
	path, err := s.forwardPath(to)
	if err != nil {
		return err
	}
	if err := t.AddRecipient(s.ctx, path); err != nil {
		answer := replyTo(err, s.logger, logs.ID, t.ID(), logs.To, path.String())
		return s.countRefusal(answer)
	}
	return nil
}

// forwardPath reads the argument of RCPT, or returns the reply.
func (s *session) forwardPath(to string) (mail.Address, error) {
	if s.conn.barePostmaster {
		path, err := s.server.config.Agent.Postmaster(s.ctx)
		if err != nil {
			return mail.Address{}, s.countRefusal(replyTo(err, s.logger, logs.To, "postmaster"))
		}
		return path, nil
	}
	path, err := mail.SplitAddress(to)
	switch {
	case err != nil:
		return mail.Address{}, s.countRefusal(replyBadPath)
	case !s.utf8 && !isASCII(to):
		return mail.Address{}, s.countRefusal(replyNeedUTF8)
	}
	return path, nil
}

// countRefusal ends the session of a client that only guesses.
func (s *session) countRefusal(answer *smtp.SMTPError) error {
	if answer.Temporary() {
		return answer
	}
	if s.refused++; s.refused > maxRefused {
		s.conn.hangUp = true
		s.logger.Warn(logs.Refused, logs.Reason, "too many refused recipients")
		return replyFlood
	}
	return answer
}

// Data implements smtp.Session, for DATA and BDAT. The reader that the library
// offers is left alone.
func (s *session) Data(io.Reader) error {
	c := s.conn
	c.beginContent()
	var from content = &dotReader{c: c}
	if c.chunked {
		from = &chunkReader{c: c}
	}
	answer := s.deliver(from)
	// A refusal may come before the end; the rest of it is no command. Of BDAT
	// only the chunk at hand belongs to this reply.
	rest := from
	if c.chunked {
		rest = &chunkReader{c: c, single: true}
	}
	if !drain(rest, c.settings.MaxMessageSize) {
		c.hangUp = true
	}
	_, cut := from.finished()
	if cut != nil {
		c.mute = strconv.Itoa(answer.Code) // the command that came instead is answered
	}
	c.contentEnded(cut)
	return answer
}

// deliver returns the reply to the content, always an *smtp.SMTPError: the
// library makes a permanent failure of anything else.
func (s *session) deliver(from content) *smtp.SMTPError {
	t := s.transaction
	attrs := []any{logs.ID, t.ID(), logs.From, t.ReversePath().String(), logs.To, t.Mailboxes()}
	octets, err := t.Deliver(s.ctx, from)
	switch {
	case err == nil:
		s.accepted++
		s.logger.Info(logs.Accepted, append(attrs, logs.Octets, octets, logs.Helo, s.library.Hostname(), logs.TLS, s.conn.tls)...)
		return reply(250, 2, 0, 0, "accepted, id "+t.ID())
	case s.conn.broken || errors.Is(err, errCut):
		s.logger.Info(logs.Refused, append(attrs, logs.Reason, "the content did not arrive whole", logs.Error, err)...)
		return replyInterrupted
	}
	return replyTo(err, s.logger, attrs...)
}

// Reset implements smtp.Session.
func (s *session) Reset() {
	s.transaction = nil
}

// Logout implements smtp.Session. The library may call it twice.
func (s *session) Logout() error {
	if s.ended {
		return nil
	}
	s.ended = true
	s.cancel()
	if s.conn.handed {
		return nil // it goes on above TLS
	}
	s.logger.Info(logs.SessionEnd, logs.Messages, s.accepted, logs.Duration, time.Since(s.began).Round(time.Millisecond),
		"refused", fmt.Sprint(s.refused))
	return nil
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
