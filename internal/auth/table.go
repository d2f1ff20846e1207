package auth

// table is a map of bounded size: it keeps at least the size entries used last,
// and at most twice as many. It is not safe for concurrent use.
type table[K comparable, V any] struct {
	size       int
	young, old map[K]V
}

func newTable[K comparable, V any](size int) table[K, V] {
	return table[K, V]{size: size, young: map[K]V{}}
}

func (t *table[K, V]) get(k K) (V, bool) {
	v, ok := t.young[k]
	if ok {
		return v, true
	}
	if v, ok = t.old[k]; ok {
		t.put(k, v)
	}
	return v, ok
}

func (t *table[K, V]) put(k K, v V) {
	if _, ok := t.young[k]; !ok && len(t.young) >= t.size {
		t.young, t.old = make(map[K]V, t.size/8), t.young
	}
	t.young[k] = v
}
