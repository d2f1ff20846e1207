package smtpd_test

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"mailsrv/internal/directory"
	"mailsrv/smtpd"
)

// BenchmarkReceive sends messages over kept connections, pipelined as real
// senders do, into 100 maildrops. The processor time is that of
// both sides.
func BenchmarkReceive(b *testing.B) {
	w := newWorld(b, func(s *smtpd.Settings) { s.MaxRecipients = 100 })
	for i := range 100 {
		if _, err := w.store.AddMailbox(background, directory.Mailbox{Address: address(fmt.Sprintf("u%d@me.com", i)), Switches: directory.AllOn}); err != nil {
			b.Fatal(err)
		}
	}
	for _, c := range []struct{ connections, size int }{{1, 4 << 10}, {16, 4 << 10}, {16, 75 << 10}} {
		connections := c.connections
		text := "Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 76)+"\r\n", c.size/78) + ".\r\n"
		b.Run(fmt.Sprintf("size=%dKiB/connections=%d", c.size>>10, connections), func(b *testing.B) {
			before := processorTime()
			var next atomic.Int64
			var group sync.WaitGroup
			for range connections {
				group.Go(func() {
					c, err := net.Dial("tcp", w.addr)
					if err != nil {
						b.Error(err)
						return
					}
					defer c.Close()
					in := bufio.NewReader(c)
					ask := func(command, last string) bool {
						c.Write([]byte(command))
						for {
							line, err := in.ReadString('\n')
							if err != nil || line[0] > '3' {
								b.Error(line, err)
								return false
							}
							if strings.HasPrefix(line, last) {
								return true
							}
						}
					}
					if !ask("EHLO x\r\n", "250 ") {
						return
					}
					for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
						if !ask(fmt.Sprintf("MAIL FROM:<a@example.org>\r\nRCPT TO:<u%d@me.com>\r\nDATA\r\n", n%100), "354") || !ask(text, "250") {
							return
						}
					}
				})
			}
			group.Wait()
			b.ReportMetric(float64((processorTime()-before).Microseconds())/float64(b.N), "cpu-µs/op")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
		})
	}
}

// processorTime is what this process has used so far.
func processorTime() time.Duration {
	var used syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
