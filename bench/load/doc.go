// Package load sends mail by SMTP and LMTP and fetches it by POP3, as fast as
// the server lets it, and counts what it is told and what it gets.
//
// Each message carries a token that says where it belongs, and a digest of
// what follows. Whoever fetches it checks both, and a Book knows at the end
// which accepted message never came: a wrong answer is an error however fast
// it is.
//
// The generator shares the machine with the server, so messages are made
// beforehand, and a turn of the dialogue costs it one write and one read.
package load
