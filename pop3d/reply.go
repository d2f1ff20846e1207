package pop3d

// All refusals, with the response codes of RFC 2449 section 8 and RFC 3206. A reply
// without a code means that the client made a mistake.
const (
	replyRefused = "-ERR [AUTH] wrong name or password" // for whatever reason
	replyInUse   = "-ERR [IN-USE] another program has this mailbox open: close it there, or try again in a minute"
	replyTooSoon = "-ERR [LOGIN-DELAY] this mailbox was opened a short time ago, try again later"

	replyTemporary   = "-ERR [SYS/TEMP] something failed here, try again later"
	replyBusy        = "-ERR [SYS/TEMP] too many logins at once, try again later"
	replyEnded       = "-ERR [SYS/TEMP] the administrator ended this session; nothing was deleted"
	replyDraining    = "-ERR [SYS/TEMP] server is shutting down, try again later"
	replyTakenOver   = "-ERR [SYS/TEMP] another session took this maildrop after a long silence; nothing was deleted"
	replyGone        = "-ERR [SYS/TEMP] message was removed by another since this session began"
	replyNotExpunged = "-ERR [SYS/TEMP] no message was deleted, try again later"

	replyDisabled = "-ERR [SYS/PERM] the mailbox was disabled, and nothing was deleted: ask the administrator"
	replyRemoved  = "-ERR [SYS/PERM] the mailbox was removed: ask the administrator"
	replyChanged  = "-ERR [SYS/PERM] the password was changed, and nothing was deleted: log in with the new one"

	replyDamaged   = "-ERR [SYS/PERM] stored message is damaged, ask the administrator"
	replyNeedTLS   = "-ERR [SYS/PERM] no password without TLS: use STLS, or port 995"
	replyCutOff    = "-ERR [SYS/PERM] no login without TLS, and TLS is not set up: ask the administrator"
	replyNoTLS     = "-ERR [SYS/PERM] TLS is not set up"
	replyMechanism = "-ERR no such mechanism, use PLAIN or LOGIN"

	replyUnknown    = "-ERR no such command in this state"
	replyTooLong    = "-ERR line too long"
	replyNoArgument = "-ERR this command takes no argument"
	replyNoName     = "-ERR give a name"
	replyUserFirst  = "-ERR USER comes first"
	replyNoPassword = "-ERR give a password"
	replyTLSAlready = "-ERR TLS is on already"
	replyBase64     = "-ERR the response is not in base64"
	replySASL       = "-ERR the response does not suit the mechanism"
	replyCancelled  = "-ERR authentication cancelled"
	replyNumber     = "-ERR give a message number"
	replyTOP        = "-ERR give a message number and a number of lines"
	replyNoMessage  = "-ERR no such message"
	replyMarked     = "-ERR message is marked as deleted"
)

// The positive replies without figures. Those with figures are built in the commands.
const (
	replyOK       = "+OK"
	replyName     = "+OK now the password"
	replyBeginTLS = "+OK begin TLS now"
	replyBye      = "+OK bye"
)

// reply gathers one line of a reply. It is sent before the next read that would block, or
// at the session's end.
func (s *session) reply(line string) {
	w := s.out.Buffer()
	w.WriteString(line)
	w.WriteString("\r\n")
}

// mistake refuses a command that is unknown or wrong in this place. After maxMistakes it
// ends the session: the client is no mail client.
func (s *session) mistake(line string) {
	s.reply(line)
	if s.mistakes++; s.mistakes >= maxMistakes {
		s.over = "too many mistakes"
	}
}
