package delivery

import (
	"net/netip"
	"sync"
	"time"

	"mailsrv/internal/listen"
	"mailsrv/internal/mail"
)

// Bounds of the memory of misfits.
const (
	memorySize = 10_000
	memoryAge  = 24 * time.Hour
)

// memory knows the recipients that had no room when they shared a transaction,
// so that at the next attempt each gets an answer of its own. It is bounded
// and lost at a restart, which costs one more attempt.
type memory struct {
	mu    sync.Mutex
	since map[memoryKey]time.Time
	order []memoryKey // a ring, oldest first from next on
	next  int
}

type memoryKey struct {
	client   netip.Prefix
	from, to string
}

func newMemoryKey(client netip.Addr, from, to mail.Address) memoryKey {
	return memoryKey{listen.Network(client), from.Fold().String(), to.Fold().String()}
}

func (m *memory) add(k memoryKey, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.since == nil {
		m.since = map[memoryKey]time.Time{}
	}
	_, known := m.since[k]
	m.since[k] = now
	switch {
	case known:
	case len(m.order) < memorySize:
		m.order = append(m.order, k)
	default:
		delete(m.since, m.order[m.next])
		m.order[m.next] = k
		m.next = (m.next + 1) % memorySize
	}
}

func (m *memory) has(k memoryKey, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, known := m.since[k]
	return known && now.Sub(at) < memoryAge
}
