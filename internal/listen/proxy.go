package listen

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// The PROXY protocol, versions 1 and 2 (haproxy's doc/proxy-protocol.txt): before the
// client's first octet, a proxy sends a header that names the client. It is read here and
// not by go-proxyproto: that needs a version 1 header to come in one packet, and holds up
// accepting while it waits for a header.

const (
	proxyTimeout   = 10 * time.Second
	maxProxyHeader = 2 << 10 // octets; addresses take 52, the rest are the proxy's extras
	maxProxyLine   = 107     // octets of version 1 with its CRLF
)

var (
	proxySignature = []byte("\r\n\r\n\x00\r\nQUIT\n")
	proxyVerb      = []byte("PROXY ")

	errMore     = errors.New("it is cut off")
	errNoHeader = errors.New("the connection does not begin with one")
)

// readProxyHeader reads a proxy's header and returns the client's address. The address is
// invalid where the proxy speaks for itself, as in its health checks.
func (c *Conn) readProxyHeader() (netip.Addr, error) {
	if err := c.AwaitCommand(proxyTimeout); err != nil {
		return netip.Addr{}, err
	}
	defer c.Working()
	defer c.Conn.SetReadDeadline(time.Time{})
	header := make([]byte, 0, maxProxyHeader)
	for {
		n, err := c.Conn.Read(header[len(header):cap(header)])
		header = header[:len(header)+n]
		source, size, bad := parseProxyHeader(header)
		switch {
		case bad == nil:
			c.ahead = append([]byte(nil), header[size:]...)
			return source, nil
		case !errors.Is(bad, errMore):
			return netip.Addr{}, bad
		case len(header) == cap(header):
			return netip.Addr{}, fmt.Errorf("it has more than %d octets", maxProxyHeader)
		case err != nil:
			return netip.Addr{}, err
		}
	}
}

// parseProxyHeader parses the header at the start of octets. size is the header's length
// in octets. errMore: the header is not complete yet.
func parseProxyHeader(octets []byte) (source netip.Addr, size int, err error) {
	switch {
	case bytes.HasPrefix(octets, proxySignature):
		return parseProxyBinary(octets)
	case bytes.HasPrefix(octets, proxyVerb):
		return parseProxyLine(octets)
	case bytes.HasPrefix(proxySignature, octets), bytes.HasPrefix(proxyVerb, octets):
		return source, 0, errMore
	}
	return source, 0, errNoHeader
}

// parseProxyLine parses version 1: PROXY TCP4 source destination port port.
func parseProxyLine(octets []byte) (source netip.Addr, size int, err error) {
	line, _, found := bytes.Cut(octets[:min(len(octets), maxProxyLine)], []byte("\r\n"))
	switch {
	case !found && len(octets) < maxProxyLine:
		return source, 0, errMore
	case !found:
		return source, 0, errors.New("its line has no end")
	}
	size = len(line) + 2
	words := strings.Split(string(line), " ")
	if words[1] == "UNKNOWN" {
		return source, size, nil
	}
	if len(words) != 6 || words[1] != "TCP4" && words[1] != "TCP6" {
		return source, 0, errors.New("its line is malformed")
	}
	source, err = netip.ParseAddr(words[2])
	if err != nil || source.Zone() != "" || source.Is4() != (words[1] == "TCP4") {
		return netip.Addr{}, 0, errors.New("its address is malformed")
	}
	return source.Unmap(), size, nil
}

// parseProxyBinary parses version 2.
func parseProxyBinary(octets []byte) (source netip.Addr, size int, err error) {
	const fixed = 16
	if len(octets) < fixed {
		return source, 0, errMore
	}
	size = fixed + int(binary.BigEndian.Uint16(octets[14:fixed]))
	switch {
	case size > maxProxyHeader:
		return source, 0, fmt.Errorf("it has more than %d octets", maxProxyHeader)
	case len(octets) < size:
		return source, 0, errMore
	}
	const local, proxied, none, tcp4, tcp6 = 0x20, 0x21, 0x00, 0x11, 0x21
	command, family, addresses := octets[12], octets[13], octets[fixed:size]
	switch {
	case command == local, command == proxied && family == none:
		return source, size, nil
	case command == proxied && family == tcp4 && len(addresses) >= 12:
		source, _ = netip.AddrFromSlice(addresses[:4])
	case command == proxied && family == tcp6 && len(addresses) >= 36:
		source, _ = netip.AddrFromSlice(addresses[:16])
	default:
		return source, 0, fmt.Errorf("its command %#x or family %#x is none for TCP", command, family)
	}
	return source.Unmap(), size, nil
}
