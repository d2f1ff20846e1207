// Package pop3d speaks POP3: it turns commands into calls on an open maildrop.
//
// A connection becomes a session, which passes through the states of RFC 1939, one file
// each. AUTHORIZATION proves who the client is, claims the maildrop, waiting for it if need
// be, and takes its snapshot. TRANSACTION answers from that snapshot, streams messages, and
// marks those to be deleted. UPDATE, entered by QUIT alone, expunges the marked messages in
// one call to the store. The same call notes which messages were retrieved, where the
// mailbox removes those after a time (EXPIRE).
//
// What always holds: messages are deleted only at QUIT, all that are marked or none, and
// only while the login still counts (standing.go). If a body fails after the +OK of RETR or
// TOP, the connection ends without the final dot. An unknown error is answered with
// [SYS/TEMP], and its cause goes to the log alone. A session runs in one goroutine. While
// it waits for a command its only buffer is a small read buffer.
//
// It implements RFC 1939 without APOP, RFC 2449 (CAPA), RFC 2595 (STLS) and
// RFC 8314 (implicit TLS), RFC 3206 (AUTH-RESP-CODE), RFC 5034 (AUTH, with
// PLAIN and LOGIN), RFC 6856 (UTF8).
package pop3d
