// Package delivery takes a message from a protocol into maildrops: it routes
// forward-paths to mailboxes, adds the trace fields, brings the content into
// canonical form, and commits to every recipient or to none.
//
// A protocol calls [Agent.Begin] for each message, adds recipients to the [Transaction]
// while its peer can still be told of a refusal, and then hands over the content. An
// error that is or wraps a [mailsrv/internal/refusal.Refusal] is the answer to the peer;
// every other error is a temporary failure.
package delivery
