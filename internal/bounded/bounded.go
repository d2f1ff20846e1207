// Package bounded has maps of bounded size, for what is remembered of peers: in a full map
// a new entry pushes out those used longest ago, so that peers cannot make it grow.
package bounded

// Table is a map that keeps at least the entries used last, as many as its size, and at
// most twice as many. It is not safe for concurrent use.
type Table[K comparable, V any] struct {
	size       int
	young, old map[K]V
}

// NewTable returns an empty table that keeps at least size entries. It takes memory only as
// it fills.
func NewTable[K comparable, V any](size int) *Table[K, V] {
	return &Table[K, V]{size: size, young: map[K]V{}}
}

// Get returns the value that was put last under k, and whether it is still there. That
// counts as a use.
func (t *Table[K, V]) Get(k K) (V, bool) {
	v, ok := t.young[k]
	if ok {
		return v, true
	}
	if v, ok = t.old[k]; ok {
		t.Put(k, v)
	}
	return v, ok
}

// Put stores v under k.
func (t *Table[K, V]) Put(k K, v V) {
	if _, ok := t.young[k]; !ok && len(t.young) >= t.size {
		t.young, t.old = make(map[K]V, t.size/8), t.young
	}
	t.young[k] = v
}

// Len returns the number of entries. Entries that were put again may count twice.
func (t *Table[K, V]) Len() int { return len(t.young) + len(t.old) }
