package bounded_test

import (
	"testing"

	"mailsrv/internal/bounded"
)

func TestTable(t *testing.T) {
	const size = 10
	table := bounded.NewTable[int, string](size)
	if _, ok := table.Get(0); ok {
		t.Error("an empty table holds something")
	}
	for i := range 100 * size {
		table.Put(i, "x")
		if table.Len() > 2*size {
			t.Fatalf("%d entries", table.Len())
		}
		if _, ok := table.Get(0); !ok {
			t.Fatalf("what is used at each turn was gone after %d others", i)
		}
		for j := max(0, i-size+2); j <= i; j++ { // one place is that of 0
			if _, ok := table.Get(j); !ok {
				t.Fatalf("%d was gone after %d others", j, i-j)
			}
		}
	}
	if _, ok := table.Get(1); ok {
		t.Error("what was not used is still there")
	}
	table.Put(0, "y")
	if v, _ := table.Get(0); v != "y" {
		t.Errorf("got %q", v)
	}
}
