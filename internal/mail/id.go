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
