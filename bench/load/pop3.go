package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// Session is a POP3 session. It is not safe for concurrent use.
type Session struct {
	conn net.Conn
	in   []byte // what was read; in[used:] was not consumed yet
	used int
	out  []byte
	stop func() bool
}

// Dial connects and reads the greeting. The end of ctx closes the connection.
func Dial(ctx context.Context, address string) (*Session, error) {
	s := &Session{in: make([]byte, 0, 32<<10)}
	return s, s.dial(ctx, address)
}

// dial makes a new connection, with the buffers of the former one.
func (s *Session) dial(ctx context.Context, address string) (err error) {
	if s.conn, err = dialer.DialContext(ctx, "tcp", address); err != nil {
		return err
	}
	s.in, s.used = s.in[:0], 0
	s.stop = context.AfterFunc(ctx, func() { s.conn.Close() })
	if _, err = s.status(); err != nil {
		s.Close()
	}
	return err
}

// Close drops the connection.
func (s *Session) Close() {
	s.stop()
	s.conn.Close()
}

// Command sends a line, given without its end, and returns the text of the +OK reply,
// valid until the next command. Any other reply is an error.
func (s *Session) Command(line string) ([]byte, error) {
	if err := s.send(line); err != nil {
		return nil, err
	}
	return s.status()
}

// Listing sends a command and returns the lines of its reply as they came, without the
// status line and the final dot, valid until the next command.
func (s *Session) Listing(line string) ([]byte, error) {
	if _, err := s.Command(line); err != nil {
		return nil, err
	}
	return s.multiline()
}

// Login logs in with USER and PASS.
func (s *Session) Login(m Mailbox) error {
	if _, err := s.Command("USER " + m.Address); err != nil {
		return err
	}
	_, err := s.Command("PASS " + m.Password)
	return err
}

// Stat asks for the messages in the maildrop and their octets.
func (s *Session) Stat() (messages int, octets int64, err error) {
	answer, err := s.Command("STAT")
	if err != nil {
		return 0, 0, err
	}
	if _, err := fmt.Sscanf(string(answer), "%d %d", &messages, &octets); err != nil {
		return 0, 0, fmt.Errorf("STAT answered %q", answer)
	}
	return messages, octets, nil
}

// Quit ends the session and waits until the server has closed it.
func (s *Session) Quit() error {
	defer s.Close()
	if _, err := s.Command("QUIT"); err != nil {
		return err
	}
	return nil
}

func (s *Session) send(line string) error {
	s.out = append(append(s.out[:0], line...), "\r\n"...)
	_, err := s.conn.Write(s.out)
	return err
}

var crlf = []byte("\r\n")

// status reads a line that must begin with +OK.
func (s *Session) status() ([]byte, error) {
	line, err := s.until(crlf)
	if err != nil {
		return nil, err
	}
	text, ok := bytes.CutPrefix(line, []byte("+OK"))
	if !ok {
		return nil, fmt.Errorf("POP3 said: %s", line)
	}
	return bytes.TrimPrefix(text, []byte(" ")), nil
}

// endOfLines is the final dot with the line end before it. That line end is of the last
// line, or of the status line if there are no lines.
var endOfLines = []byte("\r\n.\r\n")

// multiline reads lines up to the final dot.
func (s *Session) multiline() ([]byte, error) {
	s.used -= len(crlf) // back to the end of the status line, still in the buffer
	text, err := s.until(endOfLines)
	if err != nil {
		return nil, err
	}
	if len(text) == 0 {
		return nil, nil
	}
	return text[len(crlf) : len(text)+len(crlf)], nil
}

// until returns what comes before the mark, and consumes the mark too.
func (s *Session) until(mark []byte) ([]byte, error) {
	for searched := s.used; ; {
		if at := bytes.Index(s.in[searched:], mark); at >= 0 {
			text := s.in[s.used : searched+at]
			s.used = searched + at + len(mark)
			return text, nil
		}
		searched = max(s.used, len(s.in)-len(mark)+1)
		moved, err := s.fill()
		if err != nil {
			return nil, err
		}
		searched -= moved
	}
}

// fill reads more. It may move what was not consumed to the front, by moved octets, and
// keeps the two octets before it, which multiline needs.
func (s *Session) fill() (moved int, err error) {
	if cap(s.in)-len(s.in) < cap(s.in)/4 {
		if moved = max(s.used-len(crlf), 0); moved > 0 {
			s.in = s.in[:copy(s.in, s.in[moved:])]
			s.used -= moved
		}
		if cap(s.in)-len(s.in) < cap(s.in)/4 {
			larger := make([]byte, len(s.in), 2*cap(s.in))
			copy(larger, s.in)
			s.in = larger
		}
	}
	n, err := s.conn.Read(s.in[len(s.in):cap(s.in)])
	s.in = s.in[:len(s.in)+n]
	if n > 0 {
		err = nil
	}
	return moved, err
}

// retrieve reads the reply to a RETR and checks the message.
func (s *Session) retrieve(b *Book, mailbox int) (token, int, error) {
	if _, err := s.status(); err != nil {
		return token{}, 0, err
	}
	raw, err := s.multiline()
	if err != nil {
		return token{}, 0, err
	}
	t, octets, err := readMessage(raw)
	if err != nil {
		return t, 0, fmt.Errorf("maildrop of %s: %w", b.mailboxes[mailbox].Address, err)
	}
	return t, octets, b.belongs(t, mailbox)
}

// Readers are concurrent sessions that log in, fetch, check what they get, and quit, for
// all mailboxes in turn.
type Readers struct {
	Address  string
	Sessions int // concurrent
	Book     *Book

	Fetch    int  // messages per session; 0: log in, STAT and QUIT only
	Delete   bool // the messages fetched
	Pipeline int  // commands sent ahead; 0 and 1: one by one

	// The run ends when the first of these that is not zero is reached. A session that
	// was begun is finished.
	For    time.Duration
	Rounds int // through all mailboxes
}

// All fetches every message of a session.
const All = -1

// Run logs in and fetches. An operation is a message, or a session if none is fetched. Its
// latency is that of a RETR that is not pipelined, or that of a session from the connect to
// the end of QUIT.
func (r Readers) Run(ctx context.Context) Result {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	first := r.Book.turn.Load()
	end := time.Now().Add(r.For)
	more := func() bool {
		if ctx.Err() != nil || r.For > 0 && time.Now().After(end) {
			return false
		}
		return r.Rounds == 0 || r.Book.turn.Load()-first < uint64(r.Rounds*r.Book.Mailboxes())
	}
	return gather(r.Sessions, func(_ int, t *tally) {
		w := reader{Readers: r, tally: t}
		w.session.in = make([]byte, 0, 64<<10)
		for more() && t.errors < maxErrors {
			mailbox := r.Book.takeTurn()
			if err := w.visit(ctx, mailbox); err != nil {
				t.failed(err)
			}
		}
	})
}

// reader makes one session after the other.
type reader struct {
	Readers
	tally   *tally
	session Session
	fetched []token
}

// visit makes one session.
func (r *reader) visit(ctx context.Context, mailbox int) error {
	began := time.Now()
	s := &r.session
	if err := s.dial(ctx, r.Address); err != nil {
		return err
	}
	defer s.Close()
	if err := s.Login(r.Book.mailboxes[mailbox]); err != nil {
		return err
	}
	messages, octets, err := s.Stat()
	if err != nil {
		return err
	}
	r.fetched = r.fetched[:0]
	if r.Fetch != 0 {
		if err := r.fetch(mailbox, messages, octets); err != nil {
			return err
		}
	}
	if err := s.Quit(); err != nil {
		return err
	}
	r.Book.settle(r.fetched)
	if r.Fetch == 0 {
		r.tally.done(began, 0)
	}
	return nil
}

// fetch fetches messages, and deletes them if Delete is set.
func (r *reader) fetch(mailbox, messages int, octets int64) error {
	wanted := r.Fetch
	if wanted == All {
		wanted = messages
	}
	if messages < wanted {
		return fmt.Errorf("the maildrop of %s holds %d messages, not %d", r.Book.mailboxes[mailbox].Address, messages, wanted)
	}
	got, err := r.retrieveAll(mailbox, wanted)
	if err == nil && wanted == messages && got != octets {
		err = fmt.Errorf("STAT of %s said %d octets, RETR gave %d", r.Book.mailboxes[mailbox].Address, octets, got)
	}
	if err != nil || !r.Delete {
		r.fetched = r.fetched[:0]
		return err
	}
	s := &r.session
	for sent, done := 0, 0; done < wanted; done++ {
		for ; sent < wanted && sent < done+max(r.Pipeline, 1); sent++ {
			if err := s.send(fmt.Sprintf("DELE %d", sent+1)); err != nil {
				return err
			}
		}
		if _, err := s.status(); err != nil {
			return err
		}
	}
	return nil
}

var errTwice = errors.New("a message that was given twice in one session")

// retrieveAll fetches the messages 1 to wanted, with up to r.Pipeline commands
// ahead, and returns their octets.
func (r *reader) retrieveAll(mailbox, wanted int) (octets int64, err error) {
	s := &r.session
	window := max(r.Pipeline, 1)
	began := time.Now()
	for sent, done := 0, 0; done < wanted; done++ {
		// Half a window at a time, so that one write has several commands.
		if sent < wanted && (sent == done || sent-done <= window/2) {
			s.out = s.out[:0]
			for ; sent < wanted && sent < done+window; sent++ {
				s.out = fmt.Appendf(s.out, "RETR %d\r\n", sent+1)
			}
			if window == 1 {
				began = time.Now()
			}
			if _, err := s.conn.Write(s.out); err != nil {
				return 0, err
			}
		}
		t, n, err := s.retrieve(r.Book, mailbox)
		if err != nil {
			return 0, err
		}
		for _, before := range r.fetched[max(0, len(r.fetched)-window):] {
			if before.number == t.number {
				return 0, errTwice
			}
		}
		octets += int64(n)
		r.fetched = append(r.fetched, t)
		r.tally.done(began, n)
	}
	return octets, nil
}
