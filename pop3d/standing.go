package pop3d

import (
	"errors"
	"fmt"
	"time"

	"mailsrv/internal/auth"
)

// askEvery is how often a session at work asks whether its login still counts. A session
// that waits for its client does not ask.
const askEvery = time.Second

// ask returns nil if the login counts, or did within the last second. Errors:
// auth.ErrDisabled, auth.ErrRemoved or auth.ErrChanged if it does not count any more, or
// another error if that could not be found out.
func (s *session) ask(login auth.Login) error {
	now := time.Now()
	if now.Sub(s.asked) < askEvery {
		return nil
	}
	if err := s.server.auth.Stands(s.server.ctx, login); err != nil {
		return fmt.Errorf("ask about the login: %w", err)
	}
	s.asked = now // the time before the answer: later changes are seen next time
	return nil
}

// stands reports whether a command of the TRANSACTION state may be obeyed: since the
// login, the mailbox was not disabled or removed, and its password not changed. If not, it
// has told the client why. Before a QUIT that deletes it always asks.
func (s *session) stands(verb string) bool {
	deletes := verb == "QUIT" && s.marks != nil
	if deletes {
		s.asked = time.Time{}
	}
	err := s.ask(s.login)
	if err == nil {
		return true
	}
	line, reason := ended(err)
	if line != "" {
		s.reply(line)
		s.over = reason
		return false
	}
	s.fail(err)
	switch {
	case deletes:
		s.reply(replyNotExpunged)
		s.over = "expunge failed"
	case verb == "QUIT":
		return true // which changes nothing that could not wait
	default:
		s.reply(replyTemporary)
	}
	return false
}

// ended returns the reply to a client whose login does not count any more, and the reason
// for the log. Both are empty if err means that it could not be found out.
func ended(err error) (line, reason string) {
	switch {
	case errors.Is(err, auth.ErrDisabled):
		return replyDisabled, auth.ErrDisabled.Error()
	case errors.Is(err, auth.ErrRemoved):
		return replyRemoved, auth.ErrRemoved.Error()
	case errors.Is(err, auth.ErrChanged):
		return replyChanged, auth.ErrChanged.Error()
	}
	return "", ""
}
