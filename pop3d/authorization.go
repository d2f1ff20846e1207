package pop3d

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/emersion/go-sasl"

	"mailsrv/internal/auth"
	"mailsrv/internal/logs"
	"mailsrv/internal/wire"
	"mailsrv/storage"
)

// authorization obeys a command of the AUTHORIZATION state (RFC 1939 section 4). It
// reports whether there is a command of this name.
func (s *session) authorization(verb, argument string) bool {
	switch verb {
	case "USER":
		s.user(argument)
	case "PASS":
		s.pass(argument)
	case "AUTH":
		s.authenticate(argument)
	case "STLS":
		s.without(argument, s.stls)
	case "UTF8":
		// RFC 6856: messages go out octet for octet with or without it, and
		// names and passwords may hold UTF-8.
		s.without(argument, func() { s.reply(replyOK) })
	case "CAPA":
		s.without(argument, s.capa)
	case "QUIT":
		s.without(argument, s.quit)
	default:
		return false
	}
	return true
}

// quit obeys QUIT in AUTHORIZATION: it ends the session; no maildrop is open.
func (s *session) quit() {
	s.reply(replyBye)
	s.over = "quit"
}

// mayLogin reports whether this connection may carry a password now.
func (s *session) mayLogin() bool {
	return s.tls != nil || s.settings.PlaintextLogin.allows(s.wire.Conn)
}

// forbidden refuses a password, unseen, if this connection may not carry one. It reports
// whether it refused.
func (s *session) forbidden() bool {
	if s.mayLogin() {
		return false
	}
	s.log(slog.LevelInfo, logs.LoginFailed, slog.String(logs.Reason, "password without TLS"))
	if s.server.tls == nil {
		s.mistake(replyCutOff)
	} else {
		s.mistake(replyNeedTLS)
	}
	return true
}

// user obeys USER. It accepts any name, so that it does not show which names exist.
func (s *session) user(name string) {
	switch name = strings.Trim(name, " "); {
	case s.forbidden():
	case name == "":
		s.mistake(replyNoName)
	default:
		s.name = name
		s.reply(replyName)
	}
}

// pass obeys PASS. The password is the whole argument: it may hold spaces.
func (s *session) pass(password string) {
	name := s.name
	s.name = "" // RFC 1939 section 7: after a refusal USER comes again
	switch {
	case s.forbidden():
	case name == "":
		s.mistake(replyUserFirst)
	case password == "":
		s.mistake(replyNoPassword)
	default:
		s.open(name, password)
	}
}

// authenticate obeys AUTH (RFC 5034).
func (s *session) authenticate(argument string) {
	mechanism, initial, given := strings.Cut(strings.Trim(argument, " "), " ")
	if mechanism == "" {
		s.mechanisms()
		return
	}
	var name, password string
	take := func(identity, n, p string) error {
		name, password = n, p
		if identity != "" && identity != n {
			return errIdentity
		}
		return nil
	}
	var exchange sasl.Server
	switch {
	case s.forbidden():
		return
	case strings.EqualFold(mechanism, sasl.Plain):
		exchange = sasl.NewPlainServer(take)
	case strings.EqualFold(mechanism, sasl.Login):
		exchange = &loginServer{authenticate: take}
	default:
		s.mistake(replyMechanism)
		return
	}
	switch err := s.exchange(exchange, initial, given); {
	case s.over != "" || errors.Is(err, errAnswered):
	case errors.Is(err, errIdentity):
		s.refuse(name, "acting for another name", 0)
	case err != nil:
		s.mistake(replySASL)
	default:
		s.open(name, password)
	}
}

var (
	errIdentity = errors.New("authorization identity differs from the authentication identity")
	errAnswered = errors.New("answered already")
)

// mechanisms lists the mechanisms of AUTH, for clients older than CAPA.
func (s *session) mechanisms() {
	s.reply(replyOK)
	if s.mayLogin() {
		s.reply(sasl.Plain)
		s.reply(sasl.Login)
	}
	s.reply(".")
}

// exchange sends challenges and reads responses until the mechanism is done. It returns
// the mechanism's error, or errAnswered if the client has been told why it failed or
// cannot be read from any more.
func (s *session) exchange(mechanism sasl.Server, initial string, given bool) error {
	var response []byte
	if given {
		if initial == "=" { // RFC 5034 section 4: a response of no octets
			initial = ""
		}
		var err error
		if response, err = decode(initial); err != nil {
			s.mistake(replyBase64)
			return errAnswered
		}
	}
	for {
		challenge, done, err := mechanism.Next(response)
		if done || err != nil {
			return err
		}
		s.reply("+ " + base64.StdEncoding.EncodeToString(challenge))
		line, err := s.readLine(func([]byte) int { return maxResponse })
		switch {
		case errors.Is(err, wire.ErrTooLong):
			s.mistake(replyTooLong)
			return errAnswered
		case err != nil:
			s.unreadable(err)
			return errAnswered
		case string(line) == "*":
			s.mistake(replyCancelled)
			return errAnswered
		}
		if response, err = decode(string(line)); err != nil {
			s.mistake(replyBase64)
			return errAnswered
		}
	}
}

// decode decodes a response. It never returns nil without an error, since nil means "no
// response" to a mechanism.
func decode(s string) ([]byte, error) {
	b := make([]byte, base64.StdEncoding.DecodedLen(len(s)))
	n, err := base64.StdEncoding.Decode(b, []byte(s))
	return b[:n], err
}

// open logs in with name and password and opens the mailbox's maildrop.
func (s *session) open(name, password string) {
	begun := time.Now()
	// A drain need not wait for a login that is held back or waits in a queue: it has not
	// begun anything.
	login, err := s.server.auth.Login(s.server.serving, s.wire.Client(), name, password)
	refusal := (*auth.Refusal)(nil)
	switch {
	case errors.As(err, &refusal):
		s.refuse(name, refusal.Reason, refusal.Delay)
		return
	case err != nil && s.server.serving.Err() != nil:
		s.reply(replyDraining)
		s.over = overDraining
		return
	case errors.Is(err, auth.ErrBusy):
		s.notNow(replyBusy, name, "too many logins at once", 0)
		return
	case err != nil:
		s.temporary(fmt.Errorf("login: %w", err), name)
		return
	}
	if s.tooSoon(login) {
		s.notNow(replyTooSoon, name, reasonTooSoon, login.Delay)
		return
	}
	hungUp := false
	gone := func() bool { // a client that has sent more commands still wants the replies
		hungUp = s.in.Buffered() == 0 && s.wire.HungUp()
		return hungUp
	}
	claim, err := s.server.store.Claim(s.server.serving, login.Mailbox,
		storage.Claimant{Patience: s.settings.LockWait, Gone: gone, Busy: s.wire.sending})
	switch {
	case err == nil:
		s.wire.claim, s.wire.patience = claim, s.settings.LockTakeoverAfter
		if !s.enter(name, login, begun) {
			s.release()
		}
	case s.server.serving.Err() != nil:
		s.reply(replyDraining)
		s.over = overDraining
	case !errors.Is(err, storage.ErrInUse):
		s.temporary(fmt.Errorf("claim the maildrop: %w", err), name)
	case hungUp:
		s.notNow(replyInUse, name, "the client hung up while another session had the maildrop open", login.Delay)
	default:
		s.notNow(replyInUse, name, "another session has the maildrop open", login.Delay)
	}
}

// enter opens the maildrop, which the session has claimed, or tells the client why not.
// The login was proved after begun, and may have waited for the claim since then.
func (s *session) enter(name string, login auth.Login, begun time.Time) bool {
	if s.tooSoon(login) {
		s.notNow(replyTooSoon, name, reasonTooSoon, login.Delay)
		return false
	}
	s.asked = begun
	if err := s.ask(login); err != nil {
		if _, reason := ended(err); reason != "" {
			s.refuse(name, reason, login.Delay)
		} else {
			s.temporary(err, name)
		}
		return false
	}
	maildrop, err := s.server.store.OpenMaildrop(s.server.ctx, login.Mailbox)
	switch {
	case errors.Is(err, storage.ErrNoMaildrop): // removed just now
		s.refuse(name, "mailbox is gone", login.Delay)
		return false
	case err != nil:
		s.temporary(fmt.Errorf("open maildrop: %w", err), name)
		return false
	}
	s.login, s.maildrop = login, maildrop
	s.wire.Know(login.Address.String(), "")
	if s.settings.LoginDelay > 0 {
		s.server.logins.add(login.Mailbox, time.Now())
	}
	s.held = maildrop.Usage()
	s.log(slog.LevelInfo, logs.Login, delayed(login.Delay,
		slog.Int64(logs.Messages, s.held.Messages), slog.Int64(logs.Octets, s.held.Octets))...)
	s.replyUsage("maildrop has ")
	return true
}

const reasonTooSoon = "too soon after the last login"

// tooSoon reports whether the mailbox was opened within the login delay.
func (s *session) tooSoon(login auth.Login) bool {
	delay := s.settings.LoginDelay
	return delay > 0 && s.server.logins.since(login.Mailbox, time.Now()) < delay
}

// temporary answers a login that failed for a reason on our side.
func (s *session) temporary(err error, name string) {
	s.fail(err, named(name))
	s.mistake(replyTemporary)
}

// delayed adds how long a login was held back for earlier failures, if it was.
func delayed(delay time.Duration, attributes ...slog.Attr) []slog.Attr {
	if delay == 0 {
		return attributes
	}
	return append(attributes, slog.Duration(logs.Delay, delay))
}

// refuse answers a login with a permanent refusal. The client gets the same text for every
// reason.
func (s *session) refuse(name, reason string, delay time.Duration) {
	s.log(slog.LevelInfo, logs.LoginFailed, delayed(delay, named(name), slog.String(logs.Reason, reason))...)
	s.reply(replyRefused)
	if s.failures++; s.failures >= maxFailures {
		s.over = "too many failed logins"
	}
}

// notNow answers a login that may succeed later.
func (s *session) notNow(line, name, reason string, delay time.Duration) {
	s.log(slog.LevelInfo, logs.LoginFailed, delayed(delay, named(name), slog.String(logs.Reason, reason))...)
	s.mistake(line)
}

// maxName bounds the name that a client gives, in octets, in the log.
const maxName = 320

// named returns the name that a client gave as an attribute of a log line.
func named(name string) slog.Attr { return slog.String(logs.Mailbox, logs.Text(name, maxName)) }
