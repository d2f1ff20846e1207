package auth

import (
	"sync"
	"time"

	"mailsrv/internal/bounded"
)

const (
	rememberFor   = time.Hour
	rememberCount = 100_000
)

// memory holds which logins were verified lately. It holds only successes, each under a
// digest of the stored hash and the password: once the stored hash changes, the old
// password is not found any more.
type memory struct {
	mu       sync.Mutex
	verified *bounded.Table[digest, time.Time]
}

func newMemory() *memory {
	return &memory{verified: bounded.NewTable[digest, time.Time](rememberCount)}
}

// holds reports whether f was verified within the last hour.
func (m *memory) holds(now time.Time, f digest) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, ok := m.verified.Get(f)
	return ok && now.Sub(at) < rememberFor
}

// knew reports whether f was verified within the last thirty days: a client that presents
// it now has logged in before.
func (m *memory) knew(now time.Time, f digest) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, ok := m.verified.Get(f)
	return ok && now.Sub(at) < familiarFor
}

// add notes that f was verified just now.
func (m *memory) add(now time.Time, f digest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.verified.Put(f, now)
}
