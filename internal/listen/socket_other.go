//go:build !linux

package listen

import (
	"net"
	"time"
)

// listenConfig turns keep-alive probes on for each connection.
func listenConfig() *net.ListenConfig {
	return &net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 30 * time.Second, Interval: 30 * time.Second, Count: 3,
	}}
}

// CloseFollows declares that the connection is closed after the next write. On this system
// it has no effect.
func (c *Conn) CloseFollows() {}

// Pending returns how many of the octets written the client has not acknowledged yet. On
// this system that is not known, and 0: a client that takes longer than the idle timeout
// to receive what the kernel holds is taken for idle.
func (c *Conn) Pending() int32 { return 0 }

// HungUp reports whether the peer has ended the connection. On this system that is not
// known before the next read, and it returns false.
func (c *Conn) HungUp() bool { return false }

// Acknowledge sends the TCP acknowledgement of what has been received at once. On this
// system it has no effect.
func (c *Conn) Acknowledge() {}
