//go:build !linux

package listen

import (
	"net"
	"time"
)

// listenConfig asks for signs of life on each connection.
func listenConfig() *net.ListenConfig {
	return &net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 30 * time.Second, Interval: 30 * time.Second, Count: 3,
	}}
}

// CloseFollows says that the connection is closed after what is written next. Here the
// two leave in packets of their own.
func (c *Conn) CloseFollows() {}

// Pending is how many of the octets written the client has not got yet. Here that is
// not known, and 0: a client that takes longer than the idle timeout to fetch what the
// kernel already holds is taken for idle.
func (c *Conn) Pending() int32 { return 0 }

// HungUp reports whether the peer has ended the connection. Here that is not known
// before the next read.
func (c *Conn) HungUp() bool { return false }

// Acknowledge tells the client at once that what it sent has come. Here the kernel
// decides when.
func (c *Conn) Acknowledge() {}
