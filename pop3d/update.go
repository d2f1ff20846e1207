package pop3d

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"mailsrv/internal/logs"
	"mailsrv/quota"
	"mailsrv/storage"
)

// update is the UPDATE state (RFC 1939 section 6): the marked messages are
// removed, all or none, and the session ends. In the same transaction it is
// noted which others the client has got.
func (s *session) update() {
	line := replyBye
	s.over = "quit"
	if s.marks != nil || s.noted != nil {
		// A client that is gone has not got what it asked for before QUIT.
		if err := s.out.Flush(); err != nil {
			s.unreadable(err)
			return
		}
		switch err := s.settle(); {
		case errors.Is(err, storage.ErrTaken):
			s.dispossessed(err)
			return
		case err != nil:
			s.fail(err)
			if s.marked.Messages > 0 {
				line = replyNotExpunged
				s.over = "expunge failed"
			}
		}
	}
	// Free before the client hears of it: it may come back at once.
	s.release()
	s.reply(line)
}

// settle tells the store what the session came to.
func (s *session) settle() error {
	change := storage.Change{Expunge: make([]storage.UID, 0, s.marked.Messages)}
	for i, uid := range s.snapshot.uids {
		switch {
		case s.marks.has(i):
			change.Expunge = append(change.Expunge, uid)
		case s.noted.has(i):
			change.Retrieved = append(change.Retrieved, uid)
		}
	}
	if len(change.Expunge)+len(change.Retrieved) == 0 {
		return nil
	}
	gone, err := s.namesOfMarked()
	defer gone.free()
	if err != nil {
		return err
	}
	removed, err := s.maildrop.Update(s.server.ctx, s.wire.claim, change)
	if err != nil {
		return fmt.Errorf("update maildrop: %w", err)
	}
	s.logExpunged(gone.lines, removed)
	return nil
}

// namesWithin is how long memory is waited for before a deletion.
const namesWithin = time.Second

// perLine is how many messages a line of the log names.
const perLine = 32

// goneNames are the UIDLs of messages that are about to go, as lines of the log name them.
type goneNames struct {
	lines []string
	free  func() // gives their memory back
}

// namesOfMarked reads the UIDLs of the marked messages, which cannot be read once those
// are gone.
func (s *session) namesOfMarked() (gone goneNames, err error) {
	gone.free = func() {}
	if s.marked.Messages == 0 {
		return gone, nil
	}
	// A deletion does not fail for want of memory for the log's lines: they are counted
	// where there is some.
	octets := s.marked.Messages * uidlOctets
	soon, cancel := context.WithTimeout(s.server.ctx, namesWithin)
	defer cancel()
	if s.server.memory.Take(soon, octets) == nil {
		gone.free = func() { s.server.memory.Give(octets) }
	}
	var line []byte
	n := 0
	err = s.snapshot.eachUIDL(s.server.ctx, s.maildrop, s.marks.has, func(_ int, uidl string) {
		if n == perLine {
			gone.lines = append(gone.lines, string(line))
			line, n = line[:0], 0
		}
		if n > 0 {
			line = append(line, ' ')
		}
		line = append(line, uidl...)
		n++
	})
	if n > 0 {
		gone.lines = append(gone.lines, string(line))
	}
	if err != nil {
		err = fmt.Errorf("read UIDLs: %w", err)
	}
	return gone, err
}

// logExpunged says which messages the client deleted, on as many lines as that
// takes; the first one says how much it was.
func (s *session) logExpunged(lines []string, removed quota.Usage) {
	attributes := []slog.Attr{slog.Int64(logs.Messages, removed.Messages), slog.Int64(logs.Octets, removed.Octets)}
	for _, line := range lines {
		s.log(slog.LevelInfo, logs.Expunged, append(attributes, slog.String(logs.ID, line))...)
		attributes = nil
	}
}
