// Package refusal is every reason for which SMTP refuses something, in one table: its
// name, its codes and its text. Code that refuses returns a [*Refusal]. A session sends
// its [Reason.Reply], and the log has its [Reason.Name] as code=, for programs to count.
//
// Every other error is a temporary failure. Its cause goes to the log, never to the peer.
package refusal
