// Package pop3d speaks POP3: it turns commands into calls on an open maildrop.
//
// A connection becomes a session, which passes through the states of RFC 1939,
// a file each. AUTHORIZATION proves who the client is, claims the maildrop, waiting for
// it if need be, and takes its snapshot. TRANSACTION answers from that snapshot, streams
// messages, and marks those to be deleted. UPDATE, entered by QUIT alone,
// expunges the marked messages in one call to the store, which also notes what
// was retrieved where that begins a message's last days (EXPIRE).
//
// What always holds: nothing is deleted but at QUIT, all marks or none, and only while
// the login still counts (standing.go). After the +OK of RETR and TOP a failing body
// ends the connection, and the final dot is never sent. An unknown error is
// [SYS/TEMP], and its cause goes to the log alone. A session runs in one goroutine;
// while it waits for a command it holds a small read buffer and nothing else.
//
// Spoken are RFC 1939 but for APOP, RFC 2449 (CAPA), RFC 2595 (STLS) and
// RFC 8314 (implicit TLS), RFC 3206 (AUTH-RESP-CODE), RFC 5034 (AUTH, with
// PLAIN and LOGIN), RFC 6856 (UTF8).
package pop3d
