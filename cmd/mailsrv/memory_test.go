package main

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// beginData opens a mail transaction from an address of this machine, with so large
// a SIZE, and returns once the server waits for the content.
func (r *running) beginData(from string, size int) (*bufio.ReadWriter, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("tcp", r.address("smtp", "starttls"))
	if err != nil {
		return nil, err
	}
	r.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintf(c, "EHLO x.example\r\nMAIL FROM:<a@b.example> SIZE=%d\r\nRCPT TO:<look@me.com>\r\nDATA\r\n", size)
	in := bufio.NewReader(c)
	for {
		line, err := in.ReadString('\n')
		switch {
		case err != nil:
			return nil, fmt.Errorf("waiting for 354: %w", err)
		case strings.HasPrefix(line, "354 "):
			return bufio.NewReadWriter(in, bufio.NewWriter(c)), nil
		case line[0] != '2':
			return nil, fmt.Errorf("waiting for 354: %q", line)
		}
	}
}

func memoryHouse(t *testing.T) *running {
	h := newHouse(t, "MAILSRV_MEMORY_BUFFERS=1MiB")
	h.do("", "domain", "add", "me.com")
	h.do("secret", "mailbox", "add", "look@me.com", "--password-stdin")
	return h.serve()
}

// Who promises much and sends nothing leaves the memory to the others.
func TestSilentSendersHoldLittleMemory(t *testing.T) {
	r := memoryHouse(t)
	for i := range 24 {
		if _, err := r.beginData(fmt.Sprintf("127.0.0.%d", 2+i%6), 10<<20); err != nil {
			t.Fatalf("DATA %d: %v", i+1, err)
		}
	}
	if err := r.send("look@me.com"); err != nil {
		t.Errorf("another's message: %v", err)
	}
	if replies := r.pop3("USER look@me.com", "PASS secret", "RETR 1"); !strings.HasPrefix(replies[2], "+OK") {
		t.Errorf("fetching: %v", replies)
	}
}

// More large messages at once than there is memory for get it in turn: were it taken
// bit by bit, each would hold a part and wait for the rest in vain.
func TestLargeMessagesTakeTurns(t *testing.T) {
	r := memoryHouse(t)
	text := strings.Repeat(strings.Repeat("x", 98)+"\r\n", 2000)
	var begun, all sync.WaitGroup
	begun.Add(40)
	for range 40 {
		all.Go(func() {
			c, err := r.beginData("127.0.0.1", len(text))
			begun.Done()
			if err != nil {
				t.Error(err)
				return
			}
			begun.Wait()
			c.WriteString(text + ".\r\n")
			c.Flush()
			if line, err := c.ReadString('\n'); !strings.HasPrefix(line, "250 ") {
				t.Errorf("got %q, %v", line, err)
			}
		})
	}
	all.Wait()
}
