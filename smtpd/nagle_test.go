package smtpd_test

import (
	"net"
	"testing"
	"time"
)

// A sender with Nagle's algorithm on holds its EHLO back until its last message of
// the handshake is acknowledged. Nothing is sent that could carry that, so it has to go
// by itself: the kernel would wait 40 ms, each time.
func TestHandshakeIsAcknowledgedAtOnce(t *testing.T) {
	w := newWorld(t)
	least := time.Hour
	for range 20 {
		c := w.connect()
		must(t, c.Conn.(*net.TCPConn).SetNoDelay(false))
		c.do("STARTTLS", "220")
		c.Secure()
		begun := time.Now()
		c.do("EHLO client.example", "250")
		least = min(least, time.Since(begun))
		c.Close()
	}
	if least > 30*time.Millisecond {
		t.Errorf("the quickest of 20 waited %v", least)
	}
}
