// Package bounded has maps of bounded size, for what is remembered of peers: whoever
// fills one pushes out what was used longest ago, and takes no more memory.
package bounded

// Table is a map that keeps at least the size entries used last, and at most twice as
// many. It is not safe for concurrent use.
type Table[K comparable, V any] struct {
	size       int
	young, old map[K]V
}

// NewTable returns an empty table. It takes memory as it fills.
func NewTable[K comparable, V any](size int) *Table[K, V] {
	return &Table[K, V]{size: size, young: map[K]V{}}
}

// Get returns what was put last under k, if it is still there, which counts as a use.
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

// Put keeps v under k.
func (t *Table[K, V]) Put(k K, v V) {
	if _, ok := t.young[k]; !ok && len(t.young) >= t.size {
		t.young, t.old = make(map[K]V, t.size/8), t.young
	}
	t.young[k] = v
}

// Len is how many entries there are, of which those put again may count twice.
func (t *Table[K, V]) Len() int { return len(t.young) + len(t.old) }
