package buffers_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"mailsrv/internal/buffers"
)

// What is staged and what is left are the content, however it is cut into writes, and no
// full buffer is staged before more content comes.
func TestCollector(t *testing.T) {
	p := buffers.NewPool(1<<20, wait)
	random := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{0, 1, 8 << 10, 8<<10 + 1, buffers.Max - 1, buffers.Max, buffers.Max + 1, 2 * buffers.Max, 3*buffers.Max + 7} {
		content := make([]byte, size)
		for i := range content {
			content[i] = byte(random.Uint32())
		}
		var staged []byte
		c, err := buffers.NewCollector(t.Context(), p, int64(size), func(full []byte) error {
			if len(full) != buffers.Max {
				t.Errorf("%d octets are staged", len(full))
			}
			staged = append(staged, full...)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for rest := content; len(rest) > 0; {
			n := min(len(rest), 1+random.IntN([]int{80, 5000, 300_000}[random.IntN(3)]))
			if written, err := c.Write(rest[:n]); written != n || err != nil {
				t.Fatalf("%d octets: wrote %d of %d: %v", size, written, n, err)
			}
			rest = rest[n:]
		}
		if !bytes.Equal(append(staged, c.Rest()...), content) || c.Octets() != int64(size) || size > 0 && len(c.Rest()) == 0 {
			t.Errorf("%d octets: %d are staged, %d left, %d counted", size, len(staged), len(c.Rest()), c.Octets())
		}
		c.Free()
		c.Free()
	}
	mustBeWhole(t, p, 1<<20)
}

// A buffer takes all that was announced at once, and not before it is needed.
func TestAnnouncedContent(t *testing.T) {
	p := buffers.NewPool(1<<20, wait)
	c, err := buffers.NewCollector(t.Context(), p, buffers.Max, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ octets, capacity int }{{8 << 10, 8 << 10}, {1, buffers.Max}} {
		if _, err := c.Write(make([]byte, step.octets)); err != nil || cap(c.Rest()) != step.capacity {
			t.Errorf("%+v: a buffer of %d, %v", step, cap(c.Rest()), err)
		}
	}
	c.Free()
	mustBeWhole(t, p, 1<<20)
}

// After an error nothing more is written, and what was is still lent.
func TestCollectorFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := buffers.NewPool(buffers.Max, wait)
		other := mustGet(t, p, 8<<10+1) // leaves too little to grow
		c, err := buffers.NewCollector(t.Context(), p, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(make([]byte, 8<<10)); err != nil {
			t.Error(err)
		}
		more := mustGet(t, p, 64<<10)
		_ = more
		for range 2 {
			if n, err := c.Write(make([]byte, buffers.Max)); n != 0 || !errors.Is(err, buffers.ErrExhausted) || !errors.Is(c.Err(), err) {
				t.Errorf("wrote %d: %v, then %v", n, err, c.Err())
			}
		}
		if c.Octets() != 8<<10 || len(c.Rest()) != 8<<10 {
			t.Errorf("%d octets, %d are left", c.Octets(), len(c.Rest()))
		}
		c.Free()
		p.Put(other)
		p.Put(more)
		mustBeWhole(t, p, buffers.Max)
	})
	p := buffers.NewPool(1<<20, wait)
	disk := errors.New("the disk")
	c, err := buffers.NewCollector(t.Context(), p, 0, func([]byte) error { return disk })
	if err != nil {
		t.Fatal(err)
	}
	if n, err := c.Write(make([]byte, buffers.Max+1)); n != buffers.Max || err != disk || c.Octets() != buffers.Max {
		t.Errorf("wrote %d of %d: %v", n, c.Octets(), err)
	}
	if _, err := c.Write([]byte("x")); err != disk {
		t.Errorf("got %v", err)
	}
	c.Free()
	mustBeWhole(t, p, 1<<20)
}
