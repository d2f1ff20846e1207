// Package library speaks the grammar of SMTP through go-smtp, and works around those of
// its habits that would lose or forge mail. DEVIATIONS.md lists them, with the version in
// which each was seen and the test that shows it.
//
// A [Server] is given connections. For each it opens a [Session] of the caller's, which
// gets parsed commands and answers them. A [Conn] stands between go-smtp and the network
// and reads all octets. It hands go-smtp one command at a time, so that it always knows
// what is a command and what is content. Content never passes through go-smtp, which sees
// only its end. Replies are gathered, and leave in one write before the next wait.
//
// Two more things that go-smtp can do would fit here. AUTH: its session interface would
// call Session as Mail does, and the line after a 334 would be handed on unread. LMTP: a
// go-smtp server with LMTP on, whose status collector takes one refusal per recipient.
package library
