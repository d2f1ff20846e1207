package load

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// Senders send mail on concurrent connections, each as fast as the server replies. MAIL,
// RCPT and DATA are one write and the content is another, as of senders that use PIPELINING
// (RFC 2920).
type Senders struct {
	Address       string // host:port
	LMTP          bool
	TLS           *tls.Config // for STARTTLS; nil: without TLS
	Connections   int
	PerConnection int           // messages; 0: as many as there is time for
	Pace          time.Duration // least time between the starts of two messages on a connection
	Recipients    int           // per message; 0 is 1
	Mailbox       int           // number of the one mailbox in the book, or Everywhere
	Contents      *Contents
	Book          *Book

	// The run ends when the first of these that is not zero is reached. A message that
	// was begun is finished.
	For      time.Duration
	Messages int
	Until    <-chan struct{} // until it is closed
}

// Run sends. The latency of a message is the time from MAIL, or from the connect with one
// message per connection, to the reply that accepts it.
func (s Senders) Run(ctx context.Context) Result {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.Recipients = max(s.Recipients, 1)
	var begun atomic.Int64
	end := time.Now().Add(s.For)
	more := func() bool {
		select {
		case <-s.Until:
			return false
		default:
		}
		if ctx.Err() != nil || s.For > 0 && time.Now().After(end) {
			return false
		}
		return s.Messages == 0 || begun.Add(1) <= int64(s.Messages)
	}
	return gather(s.Connections, func(_ int, t *tally) {
		w := sender{Senders: s, tally: t}
		for more() && t.errors < maxErrors {
			if err := w.connection(ctx, more); err != nil {
				t.failed(err)
			}
		}
		s.Book.accepted(w.accepted)
	})
}

// sender makes one connection after the other.
type sender struct {
	Senders
	tally    *tally
	conn     net.Conn
	in       *bufio.Reader
	out      []byte
	accepted []token
}

// connection sends messages over one connection: one, and further ones while more returns
// true.
func (s *sender) connection(ctx context.Context, more func() bool) error {
	connecting := time.Now()
	if err := s.open(ctx); err != nil {
		return err
	}
	defer func() { s.conn.Close() }()
	stop := context.AfterFunc(ctx, func() { s.conn.Close() })
	defer stop()
	if err := s.greet(); err != nil {
		return err
	}
	began := time.Now()
	if s.PerConnection == 1 {
		began = connecting
	}
	for n := 1; ; n++ {
		octets, err := s.message()
		if err != nil {
			return err
		}
		s.tally.done(began, octets)
		if n == s.PerConnection {
			break
		}
		if s.Pace > 0 {
			time.Sleep(s.Pace - time.Since(began))
		}
		if !more() {
			break
		}
		began = time.Now()
	}
	return s.command(221, "QUIT\r\n")
}

// dialer does not set keepalive, which would take four system calls per connection.
var dialer = net.Dialer{KeepAlive: -1}

func (s *sender) open(ctx context.Context) (err error) {
	if s.conn, err = dialer.DialContext(ctx, "tcp", s.Address); err != nil {
		return err
	}
	s.in = bufio.NewReaderSize(s.conn, 4<<10)
	return nil
}

// greet does what comes before the first MAIL: greeting, EHLO, STARTTLS.
func (s *sender) greet() error {
	hello := "EHLO load.example.org\r\n"
	if s.LMTP {
		hello = "LHLO load.example.org\r\n"
	}
	if err := s.reply(220); err != nil {
		return err
	}
	if err := s.command(250, hello); err != nil || s.TLS == nil {
		return err
	}
	if err := s.command(220, "STARTTLS\r\n"); err != nil {
		return err
	}
	secure := tls.Client(s.conn, s.TLS)
	if err := secure.Handshake(); err != nil {
		return fmt.Errorf("STARTTLS: %w", err)
	}
	s.conn = secure
	s.in = bufio.NewReaderSize(secure, 4<<10)
	return s.command(250, hello)
}

// message sends one message, and returns its octets once it is accepted.
func (s *sender) message() (octets int, err error) {
	t := s.Book.issue(s.Mailbox, s.Recipients)
	p := s.Contents.pick(t.number)
	octets = tokenLength + p.length
	out := append(s.out[:0], "MAIL FROM:<load@example.org>"...)
	if !s.LMTP { // Dovecot's LMTP does not know it
		out = fmt.Appendf(out, " SIZE=%d", octets)
	}
	out = append(out, "\r\n"...)
	for i := range s.Recipients {
		to := s.Book.mailboxes[t.mailbox(i, len(s.Book.mailboxes))].Address
		out = append(append(append(out, "RCPT TO:<"...), to...), ">\r\n"...)
	}
	out = append(out, "DATA\r\n"...)
	if _, err := s.conn.Write(out); err != nil {
		return 0, err
	}
	for range 1 + s.Recipients {
		if err := s.reply(250); err != nil {
			return 0, err
		}
	}
	if err := s.reply(354); err != nil {
		return 0, err
	}
	if err := s.content(t.write(out[:0], p), p.stuffed); err != nil {
		return 0, err
	}
	replies := 1
	if s.LMTP { // RFC 2033 section 4.2: one for each recipient
		replies = s.Recipients
	}
	for range replies {
		if err := s.reply(250); err != nil {
			return 0, err
		}
	}
	s.accepted = append(s.accepted, t)
	return octets, nil
}

// content writes the two parts of a message in one system call.
func (s *sender) content(begin, rest []byte) error {
	if len(rest) > 64<<10 { // a copy would cost more than a second call
		s.out = begin
		parts := net.Buffers{begin, rest}
		_, err := parts.WriteTo(s.conn)
		return err
	}
	s.out = append(begin, rest...)
	_, err := s.conn.Write(s.out)
	return err
}

func (s *sender) command(code int, line string) error {
	if _, err := s.conn.Write([]byte(line)); err != nil {
		return err
	}
	return s.reply(code)
}

var errBadReply = errors.New("malformed reply")

// reply reads a reply. Another code than this is an error.
func (s *sender) reply(code int) error {
	for {
		line, err := s.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) < 5 {
			return errBadReply
		}
		if line[3] == '-' {
			continue
		}
		if got := int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0'); got != code {
			return fmt.Errorf("wanted a %d, got: %s", code, line[:len(line)-2])
		}
		return nil
	}
}
