package mail

import (
	"crypto/rand"
	"strings"
)

// NewID returns a new message id, which appears in the 250 reply, the Received field, the
// log and the UIDL. It has 26 characters from a-z2-7, with more than 128 random bits, so
// that no id is used twice, not even after an old backup is restored (RFC 1939 section 7).
func NewID() string { return strings.ToLower(rand.Text()) }

// MailboxID identifies a mailbox and its maildrop for good. It is never given to another
// mailbox, not even to a later one of the same address.
type MailboxID int64
