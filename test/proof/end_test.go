package proof

import (
	"bufio"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestReplyToQuitLeavesWithTheEnd counts the TCP segments that come after a QUIT: one,
// with the reply and the end of the connection. A busy machine may acknowledge the QUIT
// separately, so the least of several tries counts.
func TestReplyToQuitLeavesWithTheEnd(t *testing.T) {
	t.Parallel()
	s := newServer(t, filepath.Join(t.TempDir(), "data"))
	s.populate(noLimit, "look")
	s.start()
	defer s.stop()
	for name, address := range map[string]string{"smtp": s.smtp, "pop3": s.pop3} {
		least := uint32(100)
		for try := 0; try < 10 && least > 1; try++ {
			least = min(least, segmentsAfterQuit(t, address))
		}
		if least != 1 {
			t.Errorf("%s: %d segments after QUIT, want 1", name, least)
		}
	}
}

// segmentsAfterQuit returns how many segments a client receives after its QUIT. A command
// before it makes the kernel delay acknowledgements until there is a reply.
func segmentsAfterQuit(t *testing.T, address string) uint32 {
	t.Helper()
	c, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	in := bufio.NewReader(c)
	for _, command := range []string{"", "NOOP\r\n"} {
		io.WriteString(c, command)
		if _, err := in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	before := segments(t, c)
	io.WriteString(c, "QUIT\r\n")
	if reply, err := io.ReadAll(in); len(reply) == 0 || err != nil {
		t.Fatalf("QUIT was answered %q, %v", reply, err)
	}
	return segments(t, c) - before
}

// segments returns how many segments a connection has received.
func segments(t *testing.T, c net.Conn) uint32 {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var info *unix.TCPInfo
	var refused error
	err = raw.Control(func(fd uintptr) { info, refused = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	if err = errors.Join(err, refused); err != nil {
		t.Fatal(err)
	}
	return info.Segs_in
}
