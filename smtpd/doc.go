// Package smtpd speaks SMTP (RFC 5321) to the internet: it turns commands into
// a delivery transaction and refusals into replies. There is no AUTH here;
// whoever may write to our mailboxes may connect.
//
// The grammar and the order of commands are those of the room below it,
// smtpd/library, which owns the octets too. A session sees commands; what it needs
// of delivery it says in delivery.go; what a client may do too often, and each line
// of the log, stands in tally.go.
package smtpd
