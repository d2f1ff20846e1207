package load

import "testing"

// The mix has the promised shares: half of 4 KiB, three tenths of 16 KiB, and so on.
func TestRealisticSizes(t *testing.T) {
	const messages = 100_000
	c := NewContents(Realistic...)
	seen := map[int]int{}
	for n := range uint64(messages) {
		seen[tokenLength+c.pick(n).length]++
	}
	for size, percent := range map[int]int{4 << 10: 50, 16 << 10: 30, 75 << 10: 15, 500 << 10: 5} {
		if n := seen[size]; n < messages*percent/100-messages/200 || n > messages*percent/100+messages/200 {
			t.Errorf("%d of %d messages have %d octets, want %d %%", n, messages, size, percent)
		}
	}
	if len(seen) != 4 {
		t.Errorf("sizes %v", seen)
	}
}
