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

// update is the UPDATE state (RFC 1939 section 6): it removes the marked messages, all or
// none, and ends the session. In the same transaction it notes which others the client
// has retrieved.
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
	// Released before the reply is sent: the client may come back at once.
	s.release()
	s.reply(line)
}

// settle writes the session's deletions and retrievals to the store.
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

// namesWithin is how long namesOfMarked waits for memory.
const namesWithin = time.Second

// perLine is the number of messages that one log line names.
const perLine = 32

// goneNames are the UIDLs of messages about to be removed, as the log lines name them.
type goneNames struct {
	lines []string
	free  func() // gives the memory of lines back
}

// namesOfMarked reads the UIDLs of the marked messages: they cannot be read after the
// removal.
func (s *session) namesOfMarked() (gone goneNames, err error) {
	gone.free = func() {}
	if s.marked.Messages == 0 {
		return gone, nil
	}
	// A deletion does not fail because there is no memory for its log lines: that is only
	// counted where there is some.
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

// logExpunged logs which messages the client deleted, on as many lines as needed. The
// first line has their number and octets.
func (s *session) logExpunged(lines []string, removed quota.Usage) {
	attributes := []slog.Attr{slog.Int64(logs.Messages, removed.Messages), slog.Int64(logs.Octets, removed.Octets)}
	for _, line := range lines {
		s.log(slog.LevelInfo, logs.Expunged, append(attributes, slog.String(logs.ID, line))...)
		attributes = nil
	}
}
