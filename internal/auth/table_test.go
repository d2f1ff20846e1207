package auth

import "testing"

func TestTableKeepsWhatWasUsedLast(t *testing.T) {
	const size = 10
	table := newTable[int, int](size)
	for i := range 1000 {
		table.put(i, -i)
		if _, ok := table.get(0); !ok {
			t.Fatalf("0 is used all the time and is gone after %d", i)
		}
		if n := len(table.young) + len(table.old); n > 2*size {
			t.Fatalf("%d entries", n)
		}
	}
	for i := 999; i > 1000-size; i-- {
		if v, ok := table.get(i); !ok || v != -i {
			t.Errorf("%d: %d, %t", i, v, ok)
		}
	}
	if _, ok := table.get(500); ok {
		t.Error("500 should have been forgotten")
	}
	table.put(999, 1)
	if v, _ := table.get(999); v != 1 {
		t.Errorf("got %d", v)
	}
}
