// Package smtpd receives mail over SMTP (RFC 5321): it turns commands into a mail
// transaction and refusals into replies. There is no AUTH: everybody may connect and send
// mail to our mailboxes.
//
// Package smtpd/library, below it, reads and writes the octets and knows the grammar and
// the order of commands. A session here sees whole commands. What it needs of delivery is
// in delivery.go; the bounds on what a client may do, and the lines of the log, are in
// tally.go; guesses.go slows down networks that guess recipients.
package smtpd
