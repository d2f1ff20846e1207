package pop3d

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"

	"mailsrv/internal/logs"
	"mailsrv/quota"
	"mailsrv/storage"
)

// transaction obeys a command of the TRANSACTION state (RFC 1939 section 5) and
// reports whether there is one of this name.
func (s *session) transaction(verb, argument string) bool {
	switch verb {
	case "STAT":
		s.without(argument, s.stat)
	case "LIST":
		s.list(argument, appendOctets)
	case "UIDL":
		s.list(argument, appendUIDL)
	case "RETR":
		s.retr(argument)
	case "TOP":
		s.top(argument)
	case "DELE":
		s.dele(argument)
	case "RSET":
		s.without(argument, s.rset)
	case "NOOP":
		s.without(argument, func() { s.reply(replyOK) })
	case "CAPA":
		s.without(argument, s.capa)
	case "QUIT":
		s.without(argument, s.update)
	default:
		return false
	}
	return true
}

// set is some of the snapshot's messages, by their index: one bit each.
type set []uint64

func (s set) has(i int) bool { return i/64 < len(s) && s[i/64]&(1<<(i%64)) != 0 }

// add puts in message i of a snapshot of n.
func (s *set) add(i, n int) {
	if *s == nil {
		*s = make(set, (n+63)/64)
	}
	(*s)[i/64] |= 1 << (i % 64)
}

// usage is what the maildrop holds without the marked messages.
func (s *session) usage() quota.Usage {
	return quota.Usage{Octets: s.held.Octets - s.marked.Octets, Messages: s.held.Messages - s.marked.Messages}
}

// replyUsage says how much there is.
func (s *session) replyUsage(prefix string) {
	u := s.usage()
	s.reply("+OK " + prefix + strconv.FormatInt(u.Messages, 10) +
		" messages (" + strconv.FormatInt(u.Octets, 10) + " octets)")
}

// stat answers from the snapshot's totals: no row is read for it.
func (s *session) stat() {
	u := s.usage()
	s.reply("+OK " + strconv.FormatInt(u.Messages, 10) + " " + strconv.FormatInt(u.Octets, 10))
}

// load reads the snapshot's rows at the first command that needs them: what others
// have removed by then is not shown. When that fails it replies and returns false.
func (s *session) load() bool {
	if s.loaded {
		return true
	}
	entries, err := storage.AllEntries(s.server.ctx, s.maildrop)
	if err != nil {
		s.fail(fmt.Errorf("read maildrop: %w", err))
		s.reply(replyTemporary)
		return false
	}
	s.entries, s.loaded, s.held = entries, true, quota.Usage{}
	for _, e := range entries {
		s.held = s.held.Add(quota.Usage{Octets: e.Octets, Messages: 1})
	}
	return true
}

// message returns the index of the message that an argument names. It is the
// one guard of message numbers: there is such a message and it is not marked,
// or the client has heard why not.
func (s *session) message(argument string) (int, bool) {
	n, ok := number(argument)
	switch {
	case !ok:
		s.mistake(replyNumber)
	case !s.load():
	case n < 1 || n > int64(len(s.entries)):
		s.reply(replyNoMessage)
	case s.marks.has(int(n - 1)):
		s.reply(replyMarked)
	default:
		return int(n - 1), true
	}
	return 0, false
}

func appendOctets(line []byte, e *storage.Entry) []byte {
	return strconv.AppendInt(line, e.Octets, 10)
}

func appendUIDL(line []byte, e *storage.Entry) []byte { return append(line, e.UIDL...) }

// list obeys LIST and UIDL, which differ in what they say of a message.
func (s *session) list(argument string, what func([]byte, *storage.Entry) []byte) {
	row := func(prefix string, i int) {
		w := s.out.Buffer()
		line := append(w.AvailableBuffer(), prefix...)
		line = strconv.AppendInt(line, int64(i)+1, 10)
		line = what(append(line, ' '), &s.entries[i])
		w.Write(append(line, "\r\n"...))
	}
	if strings.Trim(argument, " ") != "" {
		if i, ok := s.message(argument); ok {
			row("+OK ", i)
		}
		return
	}
	if !s.load() {
		return
	}
	s.wire.transfer = true
	s.replyUsage("")
	for i := range s.entries {
		if !s.marks.has(i) {
			row("", i)
		}
	}
	s.reply(".")
}

func (s *session) retr(argument string) {
	i, ok := s.message(argument)
	if !ok {
		return
	}
	e := s.entries[i]
	if !s.send(e, nil) {
		return
	}
	s.sent = s.sent.Add(quota.Usage{Octets: e.Octets, Messages: 1})
	if s.login.Retrieved > 0 {
		s.noted.add(i, len(s.entries))
	}
}

func (s *session) top(argument string) {
	which, lines, _ := strings.Cut(strings.Trim(argument, " "), " ")
	n, ok := number(lines)
	if !ok {
		s.mistake(replyTOP)
		return
	}
	if i, ok := s.message(which); ok {
		s.send(s.entries[i], &head{lines: n})
	}
}

// send streams a message, or the head of it, and reports whether all went out.
func (s *session) send(e storage.Entry, head *head) bool {
	ctx, done := s.wire.transferBegins(s.server.ctx)
	defer done()
	m, err := s.maildrop.Message(ctx, e, 0)
	if err != nil {
		s.cannotSend(e, err)
		return false
	}
	defer m.Close()
	// The first piece is read before anything is promised.
	piece, err := m.Next(ctx)
	if err != nil && err != io.EOF {
		s.cannotSend(e, err)
		return false
	}
	s.reply("+OK " + strconv.FormatInt(e.Octets, 10) + " octets")
	text := stuffer{w: s.out.Buffer()}
	for done := false; err == nil && !done; {
		if head != nil {
			piece, done = head.cut(piece)
		}
		if err := text.write(piece); err != nil {
			// What was pipelined behind must not be obeyed: the client that
			// wanted a message deleted after this one has not got it.
			s.unreadable(s.out.Flush())
			return false
		}
		if !done {
			piece, err = m.Next(ctx)
		}
	}
	if err != nil && err != io.EOF {
		s.tear(e, err)
		return false
	}
	text.end()
	return true
}

// cannotSend answers RETR or TOP of which nothing has been sent.
func (s *session) cannotSend(e storage.Entry, err error) {
	line := replyTemporary
	switch {
	case errors.Is(err, storage.ErrGone):
		s.reply(replyGone)
		return
	case errors.Is(err, storage.ErrDamaged):
		line = replyDamaged
	}
	s.fail(fmt.Errorf("read message: %w", err), slog.String(logs.ID, e.UIDL))
	s.reply(line)
}

// tear ends the connection in the middle of a message: without the final dot
// the client knows that it has not got all of it.
func (s *session) tear(e storage.Entry, err error) {
	s.fail(fmt.Errorf("read message: %w", err), slog.String(logs.ID, e.UIDL))
	s.out.Flush()
	s.out.Err = err // not a word more, also not TLS's that all is well
	s.over = "message broke off"
}

// dele marks a message; it stays until UPDATE.
func (s *session) dele(argument string) {
	i, ok := s.message(argument)
	if !ok {
		return
	}
	s.marks.add(i, len(s.entries))
	s.marked = s.marked.Add(quota.Usage{Octets: s.entries[i].Octets, Messages: 1})
	// Marks are work that a takeover would lose.
	s.wire.patience = s.settings.IdleTimeout
	s.reply("+OK message " + strconv.Itoa(i+1) + " marked as deleted")
}

func (s *session) rset() {
	s.marks, s.marked = nil, quota.Usage{}
	s.wire.patience = s.settings.LockTakeoverAfter
	s.replyUsage("maildrop has ")
}
