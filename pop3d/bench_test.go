package pop3d_test

import (
	"bytes"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"
)

func BenchmarkLogin(b *testing.B) {
	s := start(b, nil)
	answer := make([]byte, 4<<10)
	for b.Loop() {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			b.Fatal(err)
		}
		for _, command := range []string{"", "USER alice@me.com\r\n", "PASS secret\r\n", "STAT\r\n", "QUIT\r\n"} {
			io.WriteString(c, command)
			if n, err := c.Read(answer); err != nil || answer[0] != '+' {
				b.Fatalf("%q: %q, %v", command, answer[:n], err)
			}
		}
		c.Close()
	}
}

// benchmarkRetr fetches a message of 4 KiB again and again, by a number of commands at
// a time.
func benchmarkRetr(b *testing.B, pipelined int) {
	s := start(b, nil)
	text := "Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 78)+"\r\n", 51)
	s.store.put(bob, message{uidl: "x", text: text})
	c := s.login(b, "bob@me.com")
	c.SetDeadline(time.Time{})
	c.send("RETR 1\r\n")
	answer := make([]byte, len(c.line())+2+len(text)+3)
	io.ReadFull(c.In, answer[:len(text)+3])
	answers := bytes.Repeat(answer, pipelined)
	commands := strings.Repeat("RETR 1\r\n", pipelined)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += pipelined {
		io.WriteString(c, commands)
		if _, err := io.ReadFull(c.In, answers); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRetr(b *testing.B)          { benchmarkRetr(b, 1) }
func BenchmarkRetrPipelined(b *testing.B) { benchmarkRetr(b, 32) }

// BenchmarkIdleSession reports what a session costs that is logged in and
// waits; the test's own end of the connection is counted too.
func BenchmarkIdleSession(b *testing.B) {
	const sessions = 1000
	s := start(b, quickTakeover) // all of one mailbox
	held := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	for b.Loop() {
		before := held()
		var conns []net.Conn
		for range sessions {
			c, err := net.Dial("tcp", s.addr)
			if err != nil {
				b.Fatal(err)
			}
			conns = append(conns, c)
			answer := make([]byte, 256)
			c.Read(answer)
			for _, command := range []string{"USER bob@me.com\r\n", "PASS secret\r\n", "CAPA\r\n"} {
				io.WriteString(c, command)
				c.Read(answer)
			}
		}
		eventually(b, "all sessions wait", func() bool { return s.group.Open() == sessions })
		b.ReportMetric(float64(held()-before)/sessions, "B/session")
		for _, c := range conns {
			c.Close()
		}
		eventually(b, "all sessions end", func() bool { return s.group.Open() == 0 })
	}
}
