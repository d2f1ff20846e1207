package smtpd

import (
	"context"
	"errors"
	"io"
	"time"

	"mailsrv/internal/buffers"
	"mailsrv/internal/logs"
	"mailsrv/internal/mail"
	"mailsrv/internal/refusal"
	"mailsrv/smtpd/library"
)

// session obeys the commands of one connection: each becomes a call on [Delivery], and
// each error a refusal. It is used by one goroutine at a time.
type session struct {
	server *Server
	conn   *library.Conn
	ctx    context.Context
	cancel context.CancelFunc
	tally  tally

	transaction Transaction // nil: none is open
	utf8        bool        // addresses may go beyond ASCII (RFC 6531)
	content     bool        // the transaction's content has been read
}

var _ library.Session = (*session)(nil)

func newSession(s *Server, c *library.Conn) *session {
	ctx, cancel := context.WithCancel(s.life)
	return &session{server: s, conn: c, ctx: ctx, cancel: cancel, tally: tally{began: time.Now()}}
}

// Mail implements library.Session (RFC 5321 section 4.1.1.2).
func (s *session) Mail(m library.Mail) *refusal.Refusal {
	if s.transaction != nil {
		return refusal.New(refusal.Nested, "")
	}
	var reversePath mail.Address
	if m.Path != "" {
		var err error
		if reversePath, err = mail.SplitAddress(m.Path); err != nil {
			return refusal.New(refusal.BadSender, "%v", err)
		}
		if !m.UTF8 && !isASCII(m.Path) {
			return refusal.New(refusal.NeedsUTF8, "")
		}
	}
	client := mail.Client{
		Addr:     s.conn.Client(),
		Helo:     s.conn.Helo(),
		Protocol: mail.ProtocolName(s.conn.Extended(), s.conn.TLS() != "", m.UTF8),
		TLS:      s.conn.TLS(),
	}
	s.transaction = s.server.config.Delivery.Begin(client, reversePath, m.Size)
	s.utf8 = m.UTF8
	return nil
}

// Rcpt implements library.Session (RFC 5321 section 4.1.1.3).
func (s *session) Rcpt(r library.Rcpt) *refusal.Refusal {
	if s.transaction == nil {
		return refusal.New(refusal.NoTransaction, "")
	}
	if !s.awaitTurn() {
		return refusal.New(refusal.Slowed, "")
	}
	path, no := s.forwardPath(r.Path)
	if no != nil {
		return no
	}
	return s.refuse(s.transaction.AddRecipient(s.ctx, path), path.String())
}

// forwardPath parses the path of a RCPT, which may be "postmaster" alone.
func (s *session) forwardPath(text string) (mail.Address, *refusal.Refusal) {
	if text == "postmaster" {
		path, err := s.server.config.Delivery.Postmaster(s.ctx)
		return path, s.refuse(err, text)
	}
	path, err := mail.SplitAddress(text)
	switch {
	case err != nil:
		return path, refusal.New(refusal.BadRecipient, "%v", err)
	case !s.utf8 && !isASCII(text):
		return path, refusal.New(refusal.NeedsUTF8, "")
	}
	return path, nil
}

// Data implements library.Session (RFC 5321 section 4.1.1.4).
func (s *session) Data(content io.Reader) (accepted string, no *refusal.Refusal) {
	t := s.transaction
	ctx, done := buffers.As(s.ctx, s.conn.Networks(), s.conn.Yield)
	defer done()
	octets, err := t.Deliver(ctx, content)
	s.content = true
	switch {
	case err == nil:
		s.tally.accept()
		if !s.conn.Trusted() {
			s.server.guesses.served(s.conn.Client(), t.Maildrops(), time.Now())
		}
		s.server.config.Logger.Info(logs.Accepted, append(s.about(t.ReversePath().String(), t.Mailboxes()),
			logs.Octets, octets, logs.TLS, s.conn.TLS())...)
		return "accepted, id " + t.ID(), nil
	case errors.Is(err, library.ErrIncomplete):
		return "", refusal.New(refusal.Incomplete, "%v", err)
	}
	return "", s.refuse(err, t.Mailboxes())
}

// refuse returns the refusal that err holds. Any other error is logged here with its cause,
// and becomes a temporary failure that names no internals. nil stays nil.
func (s *session) refuse(err error, to string) *refusal.Refusal {
	if err == nil {
		return nil
	}
	if no := refusal.Of(err); no != nil {
		return no
	}
	from := ""
	if s.transaction != nil {
		from = s.transaction.ReversePath().String()
	}
	s.server.config.Logger.Error(logs.Failed, append(s.about(from, to), logs.Error, err)...)
	return refusal.New(refusal.Failure, "")
}

// Reset implements library.Session.
func (s *session) Reset() { s.transaction, s.content = nil, false }

// Close implements library.Session.
func (s *session) Close(why string) {
	s.cancel()
	s.logEnd(why)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
