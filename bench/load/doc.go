// Package load sends mail by SMTP and LMTP ([Senders]) and fetches it by POP3 ([Readers])
// as fast as the server allows, and measures both.
//
// Each message has a token that says where it belongs, and a digest of what follows. Both
// are checked when the message is fetched. A [Book] knows at the end which accepted
// messages were not fetched.
//
// The generator shares the machine with the server. So messages are made beforehand, and
// each step of a session takes one write and one read.
package load
