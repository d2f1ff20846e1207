package pop3d

import (
	"errors"
	"fmt"
	"time"

	"mailsrv/internal/auth"
)

// askEvery is how often a session at work asks whether its login still counts.
// Nobody asks for one that waits for its client.
const askEvery = time.Second

// ask returns nil if the login still counted a second ago, auth.ErrDisabled,
// auth.ErrRemoved or auth.ErrChanged if it does not, or another error if that could
// not be found out.
func (s *session) ask(login auth.Login) error {
	now := time.Now()
	if now.Sub(s.asked) < askEvery {
		return nil
	}
	if err := s.server.auth.Stands(s.server.ctx, login); err != nil {
		return fmt.Errorf("ask about the login: %w", err)
	}
	s.asked = now // before the answer: what changes from then on is seen next time
	return nil
}

// stands says whether a command of the TRANSACTION state may be obeyed: the mailbox
// was not disabled or removed since, nor its password changed. If not, the client
// has heard why. Before a QUIT that deletes it is asked in any case.
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

// ended returns what a client hears whose login does not count any more, and why for
// the log; nothing where err says that it could not be found out.
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
