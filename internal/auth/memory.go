package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"
)

const (
	rememberFor   = time.Hour
	rememberCount = 100_000
)

// memory holds which logins were verified lately. It knows successes alone, and
// each under a digest of the stored hash and the password: once the stored hash
// changes, the old password is not found here any more.
type memory struct {
	secret [sha256.Size]byte // of this process; makes the digests useless elsewhere

	mu       sync.Mutex
	verified table[fact, time.Time]
}

// fact is the digest under which it is known that a password matches a hash.
type fact [sha256.Size]byte

func newMemory() *memory {
	m := &memory{verified: newTable[fact, time.Time](rememberCount)}
	rand.Read(m.secret[:])
	return m
}

// fact names that password matches the stored hash. No password taken
// holds a NUL, so the two cannot run into each other.
func (m *memory) fact(hash, password string) (f fact) {
	mac := hmac.New(sha256.New, m.secret[:])
	mac.Write([]byte(hash))
	mac.Write([]byte{0})
	mac.Write([]byte(password))
	mac.Sum(f[:0])
	return f
}

// holds reports whether f was verified within the last hour.
func (m *memory) holds(now time.Time, f fact) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, ok := m.verified.get(f)
	return ok && now.Sub(at) < rememberFor
}

// add remembers that f was verified just now.
func (m *memory) add(now time.Time, f fact) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.verified.put(f, now)
}
