package pop3d

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

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
	marked := make([]storage.Entry, 0, s.marked.Messages)
	change := storage.Change{Expunge: make([]storage.UID, 0, s.marked.Messages)}
	for i, e := range s.entries {
		switch {
		case s.marks.has(i):
			marked = append(marked, e)
			change.Expunge = append(change.Expunge, e.UID)
		case s.noted.has(i):
			change.Retrieved = append(change.Retrieved, e.UID)
		}
	}
	if len(change.Expunge)+len(change.Retrieved) == 0 {
		return nil
	}
	removed, err := s.maildrop.Update(s.server.ctx, s.wire.claim, change)
	if err != nil {
		return fmt.Errorf("update maildrop: %w", err)
	}
	s.logExpunged(marked, removed)
	return nil
}

// perLine is how many messages a line of the log names.
const perLine = 32

// logExpunged says which messages the client deleted, on as many lines as that
// takes; the first one says how much it was.
func (s *session) logExpunged(marked []storage.Entry, removed quota.Usage) {
	attributes := []slog.Attr{slog.Int64(logs.Messages, removed.Messages), slog.Int64(logs.Octets, removed.Octets)}
	for part := range slices.Chunk(marked, perLine) {
		var uidls []string
		for _, e := range part {
			uidls = append(uidls, e.UIDL)
		}
		s.log(slog.LevelInfo, logs.Expunged, append(attributes, slog.String(logs.ID, strings.Join(uidls, " ")))...)
		attributes = nil
	}
}
