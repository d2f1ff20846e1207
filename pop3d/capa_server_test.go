package pop3d_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mailsrv/internal/directory"
	"mailsrv/pop3d"
	"mailsrv/storage/memory"
)

// Strangers may ask CAPA as often as they like: domains and mailboxes are read once
// after each change of them, and what is promised is true all the same.
func TestCapaBeforeTheLoginReadsNothing(t *testing.T) {
	const asked = 1000
	var reads atomic.Int32
	dir := memory.New(memory.Options{Fault: func(_ context.Context, c memory.Call) error {
		if c.Method == "Expiries" {
			reads.Add(1)
		}
		return nil
	}})
	set := func(days time.Duration) {
		t.Helper()
		err := dir.ChangeDomain(t.Context(), "me.com", func(d *directory.Domain) { d.Retention.Retrieved = days * 24 * time.Hour })
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := dir.AddDomain(t.Context(), directory.Domain{Name: "me.com"}); err != nil {
		t.Fatal(err)
	}
	s := start(t, func(c *pop3d.Config) { c.Directory = dir })
	c := s.connect(t)
	for i, promise := range []string{"EXPIRE NEVER", "EXPIRE 14", "EXPIRE 3"} {
		if i > 0 {
			set([]time.Duration{0, 14, 3}[i])
		}
		c.send(strings.Repeat("CAPA\r\n", asked))
		for range asked {
			c.want("+OK")
			promised := ""
			for line := c.line(); line != "."; line = c.line() {
				if strings.HasPrefix(line, "EXPIRE") {
					promised = line
				}
			}
			if promised != promise {
				t.Fatalf("promised %q, want %s", promised, promise)
			}
		}
		if n := reads.Load(); n != int32(i+1) {
			t.Errorf("%s: everything was read %d times", promise, n)
		}
	}
}
