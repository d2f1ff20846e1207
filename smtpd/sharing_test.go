package smtpd_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"mailsrv/internal/buffers"
	"mailsrv/smtpd"
	"mailsrv/storage/memory"
	"mailsrv/test/kit"
)

// A network whose transfers stall does not hold the memory that another waits for: of
// its transfers one ends, in words that are temporary, and the others go on.
func TestStalledTransfersYieldMemory(t *testing.T) {
	const rest = 64 << 10 // what the last transfer grows out of
	pool := buffers.NewPool(8*buffers.Max+rest, kit.Patience)
	reserve := func(octets int64) bool {
		ctx, cancel := context.WithTimeout(background, time.Millisecond)
		defer cancel()
		return pool.Reserve(ctx, octets) == nil
	}
	w := newWorldOn(t, memory.New(memory.Options{Buffers: pool}))
	line := strings.Repeat("x", 98) + "\r\n"
	var stalled []*client
	for i := range 8 {
		c := w.from(t, "127.0.0.2")
		c.envelope("look@me.com")
		if i%2 == 0 {
			c.do("DATA", "354")
			c.say(strings.Repeat(line, 700))
		} else {
			c.say("BDAT 70000\r\n" + strings.Repeat(line, 700))
			c.want("250")
		}
		stalled = append(stalled, c)
	}
	kit.Await(t, "all memory to be held", func() bool {
		if reserve(rest + 1) {
			pool.Release(rest + 1)
			return false
		}
		return reserve(rest)
	})
	honest := w.from(t, "127.0.0.3")
	honest.envelope("look@me.com")
	honest.do("DATA", "354")
	honest.say("Subject: x\r\n\r\nsmall\r\n.\r\n")
	honest.want("250 2.0.0 accepted")
	stalled[7].want("421 4.3.2")
	stalled[7].wantEnd()
	for i, c := range stalled[:7] {
		if i%2 == 0 {
			c.say(".\r\n")
		} else {
			c.say("BDAT 0 LAST\r\n")
		}
		c.want("250 2.0.0 accepted")
	}
	if n := len(w.messages("look@me.com")); n != 8 {
		t.Errorf("%d messages, want 8", n)
	}
}

// The time for which a message waits for memory is not held against its sender.
func TestWaitForMemoryIsNotTheSendersSilence(t *testing.T) {
	pool := buffers.NewPool(buffers.Max, kit.Patience)
	const idle = 500 * time.Millisecond
	w := newWorldOn(t, memory.New(memory.Options{Buffers: pool}), func(s *smtpd.Settings) { s.DataIdleTimeout = idle })
	must(t, pool.Reserve(background, buffers.Max))
	c := w.connect()
	c.envelope("look@me.com")
	c.say("BDAT 12 LAST\r\nSubject: x\r\n")
	<-time.After(2 * idle)
	pool.Release(buffers.Max)
	c.want("250 2.0.0 accepted")
}
