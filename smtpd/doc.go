// Package smtpd speaks SMTP (RFC 5321) to the internet: it turns commands into
// a delivery transaction and refusals into replies. There is no AUTH here;
// whoever may write to our mailboxes may connect.
//
// The grammar and the order of commands are go-smtp's. Between it and the
// network stands conn, which owns what the library leaves open: deadlines, the
// length of commands, the end of the content, TLS, and replies that leave in
// one write. Session has the backend's part; reply.go every reply we give.
package smtpd
