//go:build cgo

package pop3d_test

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
	"mailsrv/pop3d"
)

// deliverOn delivers to a maildrop until stop is called, which returns how many
// messages that were.
func (r *real) deliverOn(id mail.MailboxID) (stop func() int) {
	ended := make(chan struct{})
	var running sync.WaitGroup
	n := 0
	running.Go(func() {
		for {
			select {
			case <-ended:
				return
			default:
			}
			r.deliver(id, fmt.Sprintf("Subject: %d\r\n\r\n", n))
			n++
		}
	})
	return func() int {
		close(ended)
		running.Wait()
		return n
	}
}

// One RETR takes far longer than the idle timeout and than a silence after which
// the maildrop may be taken, and its client sends no command. Mail arrives all
// the while, and another session asks for the maildrop.
func TestLongTransferWhileMailArrives(t *testing.T) {
	const idle, size = 1500 * time.Millisecond, 24 << 20
	s := startReal(t, func(c *pop3d.Config) {
		c.Settings.LockTakeoverAfter, c.Settings.IdleTimeout = time.Nanosecond, idle
	})
	id := s.mailbox("look@me.com", directory.Retention{})
	text := "Subject: long\r\n\r\n" + strings.Repeat(strings.Repeat("x", 1022)+"\r\n", size>>10)
	s.deliver(id, text)
	first := s.login(t, "look@me.com")
	stop := sync.OnceValue(s.deliverOn(id))
	defer stop()

	first.SetDeadline(time.Now().Add(time.Minute))
	first.send("RETR 1\r\n")
	first.want(fmt.Sprintf("+OK %d octets", len(text)))
	begun := time.Now()
	var got strings.Builder
	for got.Len() < len(text) {
		if _, err := io.CopyN(&got, first.In, int64(min(size/24, len(text)-got.Len()))); err != nil {
			t.Fatalf("ended after %d octets and %v: %v", got.Len(), time.Since(begun), err)
		}
		if got.Len() > size/2 { // all may have come, and wait for the client to look
			continue
		}
		if _, line := s.tryLogin(t, "look@me.com"); !strings.HasPrefix(line, "-ERR [IN-USE]") {
			t.Fatalf("after %d octets and %v: %q", got.Len(), time.Since(begun), line)
		}
		<-time.After(idle / 4)
	}
	if took := time.Since(begun); took < 2*idle {
		t.Errorf("the transfer took %v only", took)
	}
	if got.String() != text {
		t.Error("another text came")
	}
	first.want(".")
	first.send("STAT\r\nDELE 1\r\nQUIT\r\n")
	first.want(fmt.Sprintf("+OK 1 %d", len(text))) // as it was at the login
	first.want("+OK")
	first.want("+OK bye")

	arrived := stop()
	t.Logf("%d messages arrived", arrived)
	if arrived == 0 {
		t.Error("delivery waited for the session")
	}
	second := s.login(t, "look@me.com")
	second.send("STAT\r\n")
	second.want(fmt.Sprintf("+OK %d ", arrived))
}

// A session whose line drops gives its maildrop free at once and deletes
// nothing; the next one finds what arrived meanwhile.
func TestDroppedLineWhileMailArrives(t *testing.T) {
	s := startReal(t, func(c *pop3d.Config) { c.Settings.LockTakeoverAfter = time.Hour })
	id := s.mailbox("look@me.com", directory.Retention{})
	s.deliver(id, "Subject: first\r\n\r\n"+strings.Repeat(strings.Repeat("x", 1022)+"\r\n", 16<<10))
	stop := sync.OnceValue(s.deliverOn(id))
	defer stop()
	for _, said := range []string{"DELE 1\r\n", "DELE 1\r\nLIST\r\nRSET\r\nRETR 1\r\n", "RETR 1\r\nDELE 1\r\nQUIT\r\n"} {
		first := s.login(t, "look@me.com")
		first.send(said)
		first.want("+OK")
		first.Close() // with what the client has not read: the server hears a reset
		eventually(t, "the maildrop is free", func() bool {
			again, line := s.tryLogin(t, "look@me.com")
			if strings.HasPrefix(line, "-ERR") {
				return false
			}
			again.send("QUIT\r\n")
			again.wantEnd()
			return true
		})
	}
	arrived := stop()
	second := s.login(t, "look@me.com")
	second.send("STAT\r\nLIST 1\r\n")
	second.want(fmt.Sprintf("+OK %d ", arrived+1))
	second.want("+OK 1 16777")
}
