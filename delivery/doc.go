// Package delivery takes a message from a protocol into maildrops: it routes
// forward-paths to mailboxes, stamps the trace fields, brings the content into
// canonical form, and commits to every recipient or to none.
//
// A protocol opens a Transaction per message, adds recipients while its peer
// can still hear a refusal, and hands over the content. Reasoned answers are
// *refusal.Refusal (internal/refusal); every other error is temporary.
package delivery
