package listen

import (
	"errors"
	"testing"
)

// FuzzProxyHeader: what a header says does not depend on how much of what follows it
// has come; as long as it is cut off it asks for more, or is refused.
func FuzzProxyHeader(f *testing.F) {
	for _, s := range []string{
		"PROXY TCP4 192.0.2.7 127.0.0.1 4000 25\r\nEHLO x\r\n", "PROXY UNKNOWN\r\n", "PROXY TCP6 ::1 ::1 1 2\r\n", "EHLO x\r\n",
		"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\x7f\x00\x00\x01\x30\x39\x00\x19rest", "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, octets []byte) {
		source, size, err := parseProxyHeader(octets)
		if err != nil {
			if source.IsValid() || size != 0 && !errors.Is(err, errMore) && size > len(octets) {
				t.Fatalf("%q: %v, %d, %v", octets, source, size, err)
			}
			return
		}
		if size > len(octets) || source.Zone() != "" || source.Is4In6() {
			t.Fatalf("%q: %v of %d octets", octets, source, size)
		}
		again, same, err := parseProxyHeader(octets[:size])
		if err != nil || again != source || same != size {
			t.Fatalf("%q alone: %v, %d, %v", octets[:size], again, same, err)
		}
		if _, _, err := parseProxyHeader(octets[:size-1]); err == nil {
			t.Fatalf("%q: a header that is cut off is taken", octets[:size-1])
		}
	})
}
