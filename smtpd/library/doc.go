// Package library speaks the grammar of SMTP through go-smtp, and bends what of it
// would lose or forge mail: what is bent, in which version it was seen and which
// test shows it stands in DEVIATIONS.md.
//
// A Server is given connections. For each it opens a Session, the caller's, which
// sees commands and answers them; it never sees a line. Between go-smtp and the
// network stands a Conn, which owns the octets: it hands go-smtp one command at a
// time, so that it always knows what is a command and what is content. Content never
// passes through go-smtp, which sees only its end. Replies leave in one write before
// the next wait.
//
// What else go-smtp can do fits through here. AUTH: its session interface goes on to
// Session as Mail does, and the line behind a 334 is handed on unread. LMTP: a server
// of the LMTP kind, whose collector of statuses takes one refusal for each recipient.
package library
