package pop3d

import (
	"fmt"
	"log/slog"

	"mailsrv/internal/logs"
	"mailsrv/storage"
)

// update is the UPDATE state (RFC 1939 section 6): the marked messages are
// removed, all or none, and the session ends.
func (s *session) update() {
	line := replyBye
	s.over = "quit"
	if s.marked.Messages > 0 {
		// A client that is gone has not got what it asked for before QUIT.
		if err := s.out.flush(); err != nil {
			s.unreadable(err)
			return
		}
		if err := s.expunge(); err != nil {
			s.fail(fmt.Errorf("expunge: %w", err))
			line = replyNotExpunged
			s.over = "expunge failed"
		}
	}
	// Free before the client hears of it: it may come back at once.
	s.release()
	s.reply(line)
}

func (s *session) expunge() error {
	marked := make([]storage.Entry, 0, s.marked.Messages)
	for i, e := range s.entries {
		if s.marks.has(i) {
			marked = append(marked, e)
		}
	}
	removed, err := s.maildrop.Update(s.server.ctx, marked, nil)
	if err != nil {
		return err
	}
	s.log(slog.LevelInfo, logs.Expunged,
		slog.Int64(logs.Messages, removed.Messages), slog.Int64(logs.Octets, removed.Octets))
	return nil
}
