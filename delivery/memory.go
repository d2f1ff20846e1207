package delivery

import (
	"crypto/sha256"
	"net/netip"
	"sync"
	"time"

	"mailsrv/internal/listen"
	"mailsrv/internal/mail"
)

// Bounds of what an agent remembers.
const (
	memorySize = 10_000
	memoryAge  = 24 * time.Hour
)

// ring is a map that keeps the memorySize keys added last. A key that is put again keeps
// its place. The zero ring is ready to use.
type ring[K comparable, V any] struct {
	values map[K]V
	order  []K // ring buffer: the oldest key is at next
	next   int
}

func (r *ring[K, V]) put(k K, v V) {
	if r.values == nil {
		r.values = map[K]V{}
	}
	_, known := r.values[k]
	r.values[k] = v
	switch {
	case known:
	case len(r.order) < memorySize:
		r.order = append(r.order, k)
	default:
		delete(r.values, r.order[r.next])
		r.order[r.next] = k
		r.next = (r.next + 1) % memorySize
	}
}

// shortage knows the recipients that had no room when they shared a transaction, so
// that at the next attempt each is alone and gets an exact answer. It knows a bounded
// number and forgets them at a restart; a forgotten one takes one more attempt.
type shortage struct {
	mu    sync.Mutex
	since ring[misfitKey, time.Time]
}

// misfitKey is a digest of client network, sender and recipient, so that long paths take
// no more memory.
type misfitKey [sha256.Size]byte

func newMisfitKey(client netip.Addr, from, to mail.Address) misfitKey {
	return sha256.Sum256([]byte(listen.Network(client).String() + " " + from.Fold().String() + " " + to.Fold().String()))
}

func (m *shortage) add(k misfitKey, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.since.put(k, now)
}

func (m *shortage) has(k misfitKey, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, known := m.since.values[k]
	return known && now.Sub(at) < memoryAge
}
