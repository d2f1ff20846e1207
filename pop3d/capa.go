package pop3d

// capa lists what this connection can do (RFC 2449). Section 5: what is
// available in AUTHORIZATION is announced in both states.
func (s *session) capa() {
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
	s.reply("EXPIRE NEVER")
	s.reply("IMPLEMENTATION mailsrv")
	s.reply(".")
}
