package proof

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestSecondServer starts a server on a data directory that has one already.
func TestSecondServer(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	first, second := newServer(t, data), newServer(t, data)
	first.populate(noLimit, "look")
	first.start()
	for name, command := range map[string][]string{"serve": {"serve"}, "repair": {"check", "--repair"}} {
		ctx, cancel := context.WithTimeout(t.Context(), startLimit)
		o := run(second.command(ctx, "", command...))
		cancel()
		if o.code != 1 || o.stdout != "" || strings.Count(o.stderr, "\n") != 1 ||
			!strings.HasPrefix(o.stderr, "mailsrv: ") || !strings.Contains(o.stderr, "another mailsrv holds the data directory") {
			t.Errorf("%s: exit %d\n%s%s", name, o.code, o.stdout, o.stderr)
		}
	}
	l := newLedger(t, "look")
	l.audit(first, false) // the first is not disturbed

	begun := time.Now()
	first.kill()
	second.start()
	t.Logf("the second was ready %v after the kill of the first", time.Since(begun).Round(time.Millisecond))
	l.audit(second, false)
	second.stop()
}
