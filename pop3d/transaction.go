package pop3d

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"

	"mailsrv/internal/buffers"
	"mailsrv/internal/logs"
	"mailsrv/quota"
	"mailsrv/storage"
)

// transaction obeys a command of the TRANSACTION state (RFC 1939 section 5). It reports
// whether there is a command of this name.
func (s *session) transaction(verb, argument string) bool {
	switch verb {
	case "STAT":
		s.without(argument, s.stat)
	case "LIST":
		s.listOctets(argument)
	case "UIDL":
		s.listUIDLs(argument)
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

// set is a set of the snapshot's messages, by their index: one bit each.
type set []uint64

func (s set) has(i int) bool { return i/64 < len(s) && s[i/64]&(1<<(i%64)) != 0 }

// add adds message i of a snapshot of n messages.
func (s *set) add(i, n int) {
	if *s == nil {
		*s = make(set, (n+63)/64)
	}
	(*s)[i/64] |= 1 << (i % 64)
}

// usage returns the usage of the maildrop without the marked messages.
func (s *session) usage() quota.Usage {
	return quota.Usage{Octets: s.held.Octets - s.marked.Octets, Messages: s.held.Messages - s.marked.Messages}
}

// replyUsage replies with the number and the octets of the messages.
func (s *session) replyUsage(prefix string) {
	u := s.usage()
	s.reply("+OK " + prefix + strconv.FormatInt(u.Messages, 10) +
		" messages (" + strconv.FormatInt(u.Octets, 10) + " octets)")
}

// stat obeys STAT. It answers from the snapshot's totals and reads no row.
func (s *session) stat() {
	u := s.usage()
	s.reply("+OK " + strconv.FormatInt(u.Messages, 10) + " " + strconv.FormatInt(u.Octets, 10))
}

// load reads the snapshot's rows at the first command that needs them. Messages that others
// have removed by then are not shown. If it fails, it replies and returns false.
func (s *session) load() bool {
	if s.loaded {
		return true
	}
	// A drain need not wait until the snapshot is read: nothing has begun yet.
	ctx, listed := buffers.As(s.server.serving, s.wire.Networks(), func() {})
	held, err := s.snapshot.read(ctx, s.maildrop, s.held.Messages, s.server.memory)
	if err != nil {
		s.snapshot.free(s.server.memory)
		listed()
		if s.server.serving.Err() != nil {
			s.reply(replyDraining)
			s.over = overDraining
			return false
		}
		s.fail(fmt.Errorf("read maildrop: %w", err))
		s.reply(replyTemporary)
		return false
	}
	s.listed = listed
	s.held, s.loaded = held, true
	return true
}

// message returns the index of the message that an argument names. Every command checks
// message numbers with it. false: there is no such message, or it is marked, and the client
// has been told.
func (s *session) message(argument string) (int, bool) {
	n, ok := number(argument)
	switch {
	case !ok:
		s.mistake(replyNumber)
	case !s.load():
	case n < 1 || n > int64(s.snapshot.len()):
		s.reply(replyNoMessage)
	case s.marks.has(int(n - 1)):
		s.reply(replyMarked)
	default:
		return int(n - 1), true
	}
	return 0, false
}

// list obeys LIST and UIDL, which differ in what they tell of a message. one appends that
// to line for one message; each calls say for every message that is not marked.
func (s *session) list(argument string, one func(line []byte, i int) ([]byte, error), each func(say func(i int, what []byte)) error) {
	row := func(prefix string, i int, what []byte) {
		w := s.out.Buffer()
		line := append(w.AvailableBuffer(), prefix...)
		line = append(strconv.AppendInt(line, int64(i)+1, 10), ' ')
		w.Write(append(append(line, what...), "\r\n"...))
	}
	if strings.Trim(argument, " ") != "" {
		i, ok := s.message(argument)
		if !ok {
			return
		}
		what, err := one(nil, i)
		if err != nil {
			s.cannotSend(s.snapshot.entry(i), err)
			return
		}
		row("+OK ", i, what)
		return
	}
	if !s.load() {
		return
	}
	s.wire.transfer = true
	s.replyUsage("")
	if err := each(func(i int, what []byte) { row("", i, what) }); err != nil {
		s.tear(fmt.Errorf("list maildrop: %w", err))
		return
	}
	s.reply(".")
}

// unmarked reports whether a message is not marked.
func (s *session) unmarked(i int) bool { return !s.marks.has(i) }

func (s *session) listOctets(argument string) {
	octets := func(line []byte, i int) ([]byte, error) {
		return strconv.AppendInt(line, s.snapshot.octets(i), 10), nil
	}
	s.list(argument, octets, func(say func(int, []byte)) error {
		var what []byte
		for i := range s.snapshot.len() {
			if s.unmarked(i) {
				what, _ = octets(what[:0], i)
				say(i, what)
			}
		}
		return nil
	})
}

func (s *session) listUIDLs(argument string) {
	one := func(line []byte, i int) ([]byte, error) {
		uidl, err := s.snapshot.uidl(s.server.ctx, s.maildrop, i)
		return append(line, uidl...), err
	}
	s.list(argument, one, func(say func(int, []byte)) error {
		var what []byte
		return s.snapshot.eachUIDL(s.server.ctx, s.maildrop, s.unmarked, func(i int, uidl string) {
			what = append(what[:0], uidl...)
			say(i, what)
		})
	})
}

func (s *session) retr(argument string) {
	i, ok := s.message(argument)
	if !ok {
		return
	}
	e := s.snapshot.entry(i)
	if !s.send(e, nil) {
		return
	}
	s.sent = s.sent.Add(quota.Usage{Octets: e.Octets, Messages: 1})
	if s.login.Retrieved > 0 {
		s.noted.add(i, s.snapshot.len())
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
		s.send(s.snapshot.entry(i), &head{lines: n})
	}
}

// send streams a message, or the head of it, and reports whether all of it was written.
func (s *session) send(e storage.Entry, head *head) bool {
	ctx, done := s.wire.transferBegins(s.server.ctx, e.Octets)
	defer done()
	m, err := s.maildrop.Message(ctx, e, 0)
	if err != nil {
		s.cannotSend(e, err)
		return false
	}
	defer m.Close()
	// The first piece is read before the +OK.
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
			// Commands pipelined behind RETR must not be obeyed: they could delete
			// a message that the client has not got.
			s.unreadable(s.out.Flush())
			return false
		}
		if !done {
			piece, err = m.Next(ctx)
		}
	}
	if err != nil && err != io.EOF {
		s.tear(fmt.Errorf("read message: %w", err), slog.String(logs.ID, s.uidlOf(e)))
		return false
	}
	text.end()
	return true
}

// cannotSend answers a RETR or TOP that failed before anything was sent.
func (s *session) cannotSend(e storage.Entry, err error) {
	line := replyTemporary
	switch {
	case errors.Is(err, storage.ErrGone):
		s.reply(replyGone)
		return
	case errors.Is(err, storage.ErrDamaged):
		line = replyDamaged
	}
	s.fail(fmt.Errorf("read message: %w", err), slog.String(logs.ID, s.uidlOf(e)))
	s.reply(line)
}

// uidlOf returns a message's UIDL for the log. It reads one that is not kept; "": it could
// not be read.
func (s *session) uidlOf(e storage.Entry) string {
	if e.UIDL != "" {
		return e.UIDL
	}
	found, err := s.maildrop.Entries(s.server.ctx, e.UID, 1)
	if err != nil || len(found) == 0 || found[0].UID != e.UID {
		return ""
	}
	return found[0].UIDL
}

// tear ends the connection in the middle of a message or a list. Without the final dot the
// client knows that it has not got all of it.
func (s *session) tear(err error, attributes ...slog.Attr) {
	s.fail(err, attributes...)
	s.out.Flush()
	s.out.Err = err // nothing more is sent, nor TLS's close_notify
	s.over = "reply broke off"
}

// dele obeys DELE: it marks a message, which stays until UPDATE.
func (s *session) dele(argument string) {
	i, ok := s.message(argument)
	if !ok {
		return
	}
	s.marks.add(i, s.snapshot.len())
	s.marked = s.marked.Add(quota.Usage{Octets: s.snapshot.octets(i), Messages: 1})
	// A takeover would lose the marks.
	s.wire.patience = s.settings.IdleTimeout
	s.reply("+OK message " + strconv.Itoa(i+1) + " marked as deleted")
}

func (s *session) rset() {
	s.marks, s.marked = nil, quota.Usage{}
	s.wire.patience = s.settings.LockTakeoverAfter
	s.replyUsage("maildrop has ")
}
