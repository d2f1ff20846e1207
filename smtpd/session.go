package smtpd

import (
	"context"
	"errors"
	"io"
	"strconv"

	"github.com/emersion/go-smtp"

	"mailsrv/internal/logs"
	"mailsrv/internal/mail"
	"mailsrv/internal/refusal"
)

// session is the backend's side of a connection, from EHLO on, used by the
// library's goroutine for it alone.
type session struct {
	server  *Server
	library *smtp.Conn
	conn    *conn
	ctx     context.Context
	cancel  context.CancelFunc

	transaction Transaction // nil: none is open
	utf8        bool        // addresses may go beyond ASCII (RFC 6531)
}

func newSession(s *Server, library *smtp.Conn) *session {
	c := library.Conn().(*conn)
	ctx, cancel := context.WithCancel(s.life)
	return &session{server: s, library: library, conn: c, ctx: ctx, cancel: cancel}
}

// Mail implements smtp.Session.
func (s *session) Mail(from string, opts *smtp.MailOptions) error {
	if s.transaction != nil {
		return s.refuse(refusal.Nested, "")
	}
	var reversePath mail.Address
	if hasBareAt(s.conn.at.from) {
		return s.refuse(refusal.SenderBareAt, "")
	}
	if from != "" {
		var err error
		if reversePath, err = mail.SplitAddress(from); err != nil {
			return s.refuse(refusal.BadSender, err.Error())
		}
		if !opts.UTF8 && !isASCII(from) {
			return s.refuse(refusal.NeedsUTF8, "")
		}
	}
	client := mail.Client{
		Addr:     s.conn.base.Client(),
		Helo:     s.library.Hostname(),
		Protocol: mail.ProtocolName(s.conn.extended, s.conn.tls != "", opts.UTF8),
		TLS:      s.conn.tls,
	}
	s.transaction = s.server.config.Delivery.Begin(client, reversePath, opts.Size)
	s.utf8 = opts.UTF8
	s.conn.at.open, s.conn.at.id = true, s.transaction.ID()
	return nil
}

// Rcpt implements smtp.Session.
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	t := s.transaction
	if t == nil {
		return s.refuse(refusal.NoTransaction, "")
	}
	path, err := s.forwardPath(to)
	if err != nil {
		return err
	}
	if err := t.AddRecipient(s.ctx, path); err != nil {
		return s.replyTo(err)
	}
	return nil
}

// forwardPath reads the argument of RCPT, or returns the reply.
func (s *session) forwardPath(to string) (mail.Address, error) {
	if s.conn.at.barePostmaster() {
		path, err := s.server.config.Delivery.Postmaster(s.ctx)
		if err != nil {
			return mail.Address{}, s.replyTo(err)
		}
		return path, nil
	}
	path, err := mail.SplitAddress(to)
	switch {
	case hasBareAt(s.conn.at.to):
		return mail.Address{}, s.refuse(refusal.RecipientBareAt, "")
	case err != nil:
		return mail.Address{}, s.refuse(refusal.BadRecipient, err.Error())
	case !s.utf8 && !isASCII(to):
		return mail.Address{}, s.refuse(refusal.NeedsUTF8, "")
	}
	return path, nil
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
	octets, err := t.Deliver(s.ctx, from)
	// The command that cut the content short may have said otherwise.
	s.conn.at = attempt{open: true, id: t.ID(), from: t.ReversePath().String(), to: t.Mailboxes()}
	switch {
	case err == nil:
		s.conn.tally.accept()
		s.server.config.Logger.Info(logs.Accepted, append(s.conn.about(), logs.Octets, octets, logs.TLS, s.conn.tls)...)
		return &smtp.SMTPError{Code: 250, EnhancedCode: smtp.EnhancedCode{2, 0, 0}, Message: "accepted, id " + t.ID()}
	case s.conn.broken || errors.Is(err, errCut):
		s.conn.at.cause = err
		return s.refuse(refusal.Incomplete, "")
	}
	return s.replyTo(err)
}

// Reset implements smtp.Session.
func (s *session) Reset() {
	s.transaction = nil
	s.conn.at = attempt{}
}

// Logout implements smtp.Session. The library may call it twice.
func (s *session) Logout() error {
	s.cancel()
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
