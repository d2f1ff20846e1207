// Package auth proves who a client is: it compares a password with the hash that the
// directory holds, slows down clients that guess, and gives one refusal for every reason.
//
// A login passes through four parts: the throttle (how long a client waits that failed
// before, or that is behind others which may fail), the directory (the mailbox's hash, and
// whether it is enabled), the memory of verified logins (a client that polls often costs no
// hash), and the queue (as many computations at once as there are cores, shared out by
// network and name).
//
// What always holds: the mailbox is looked up at every login, so disabling it or changing
// its password takes effect at once, and an open session can be checked again
// ([Authenticator.Stands]). A refusal has the same text and takes the same time whether the
// name is unknown, an alias, malformed or disabled, or the password is wrong; the reason
// goes to the log. A client on a network that opened the mailbox within 30 days gets in
// with the right password without delay, whatever others have tried.
//
// Failures, familiar networks and verified logins are kept in memory alone, in
// tables of bounded size: a restart forgets them.
package auth
