package mail

import (
	"crypto/rand"
	"strings"
)

// NewID mints the name that follows one message through the 250 reply, the
// Received field, the log and the UIDL: 26 characters from a-z2-7 with more
// than 128 random bits, so that one is never used twice, also not after an old
// backup is restored (RFC 1939 section 7).
func NewID() string { return strings.ToLower(rand.Text()) }

// MailboxID names a mailbox and its maildrop for good: it is never given to
// another mailbox, also not to a later one of the same address.
type MailboxID int64
