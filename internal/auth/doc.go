// Package auth proves who a client is: it compares a password with the hash
// that the directory holds, slows down who guesses, and gives one refusal for
// every reason.
//
// A login passes through four hands: the throttle (how long a client waits that
// failed before, or stands behind others that may), the directory (what hash the
// mailbox has, and whether it is enabled), the memory of verified logins (a busy poller costs no hash), and
// the queue (as many computations at once as there are cores, shared out by network
// and name).
//
// What always holds: the mailbox is looked up at every login, so disabling one
// or changing its password counts at once, and who is logged in may be asked about
// again (Stands). A refusal says and lasts the same whether the name is unknown, an
// alias, malformed or disabled, or the password wrong; the reason is for the log. A client on a network that opened the mailbox within 30 days gets in
// with the right password without delay, whatever others have tried.
//
// Failures, familiar networks and verified logins are kept in memory alone, in
// tables of bounded size: a restart forgets them.
package auth
