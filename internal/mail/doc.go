// Package mail has the types that all packages share: addresses, envelopes, trace fields
// and message ids. It does no I/O. Every text that it returns (an address, a field) is
// valid on the wire, whatever its input was.
package mail
