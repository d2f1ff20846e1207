package pop3d

import (
	"fmt"
	"strconv"
	"time"
)

// capa obeys CAPA (RFC 2449). Section 5: what is available in AUTHORIZATION is announced
// in both states, so that a client need ask only once. Only the argument of EXPIRE may
// differ.
func (s *session) capa() {
	expire, known := s.expire()
	s.reply("+OK capabilities follow")
	s.reply("TOP")
	s.reply("UIDL")
	if s.mayLogin() {
		s.reply("USER")
		s.reply("SASL PLAIN LOGIN")
	}
	if s.tls == nil && s.server.tls != nil {
		s.reply("STLS")
	}
	s.reply("RESP-CODES")
	s.reply("AUTH-RESP-CODE")
	s.reply("PIPELINING")
	s.reply("UTF8 USER")
	if known {
		s.reply("EXPIRE " + expire)
	}
	if delay := s.settings.LoginDelay; delay > 0 {
		seconds := (delay + time.Second - 1) / time.Second // rounded up: a client that waits this long is let in
		s.reply("LOGIN-DELAY " + strconv.FormatInt(int64(seconds), 10))
	}
	s.reply("IMPLEMENTATION mailsrv")
	s.reply(".")
}

// expire returns the argument of EXPIRE (RFC 2449 section 6.7). known is false where the
// retention could not be read: then EXPIRE is not announced.
func (s *session) expire() (promise string, known bool) {
	if s.maildrop != nil {
		return expirePromise(s.login.Retrieved), true
	}
	keeps, err := s.server.directory.Expiries(s.server.ctx)
	if err != nil {
		s.fail(fmt.Errorf("read expiries: %w", err))
		return "", false
	}
	return expirePromise(keeps...), true
}

// expirePromise returns the argument of EXPIRE for the times that retrieved messages stay;
// a time of 0 is for ever. It is the least number of whole days, with USER if mailboxes
// differ.
func expirePromise(keeps ...time.Duration) string {
	least, differ := 0, false
	for _, keep := range keeps {
		days := wholeDays(keep)
		differ = differ || days != wholeDays(keeps[0])
		if days > 0 && (least == 0 || days < least) {
			least = days
		}
	}
	switch {
	case least == 0:
		return "NEVER"
	case differ:
		return strconv.Itoa(least) + " USER"
	}
	return strconv.Itoa(least)
}

func wholeDays(d time.Duration) int { return int(d / (24 * time.Hour)) }
