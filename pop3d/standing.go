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

// stands says whether a command of the TRANSACTION state may be obeyed: the mailbox
// was not disabled or removed since, nor its password changed. If not, the client
// has heard why. Before a QUIT that deletes it is asked in any case.
func (s *session) stands(verb string) bool {
	now, deletes := time.Now(), verb == "QUIT" && s.marks != nil
	if now.Sub(s.asked) < askEvery && !deletes {
		return true
	}
	err := s.server.auth.Stands(s.server.ctx, s.login)
	switch {
	case err == nil:
		s.asked = now // before the directory was: what changes from then on is seen next time
		return true
	case errors.Is(err, auth.ErrDisabled):
		s.reply(replyDisabled)
	case errors.Is(err, auth.ErrRemoved):
		s.reply(replyRemoved)
	case errors.Is(err, auth.ErrChanged):
		s.reply(replyChanged)
	default:
		s.fail(fmt.Errorf("does the login stand: %w", err))
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
	s.over = err.Error()
	return false
}
