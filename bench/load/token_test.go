package load

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// fetched returns a message as RETR returns it, with trace fields before it.
func fetched(c *Contents, t token) []byte {
	p := c.pick(t.number)
	raw := t.write([]byte("Received: by a server\r\n"), p)
	return append(raw, strings.TrimSuffix(string(p.stuffed), ".\r\n")...)
}

func TestMessagesAreRecognised(t *testing.T) {
	for _, share := range Realistic {
		c := NewContents(share)
		for number := range uint64(20) {
			sent := token{run: "12345678", number: number, first: 7, recipients: 3}
			raw := fetched(c, sent)
			got, octets, err := readMessage(raw)
			if err != nil || got != sent {
				t.Fatalf("of %d octets: %v, %v", share.Size, got, err)
			}
			stuffing := bytes.Count(raw, stuffedDot)
			if want := len(raw) - stuffing; octets != want || octets-len("Received: by a server\r\n") != share.Size {
				t.Errorf("%d octets, want %d, sent %d", octets, want, share.Size)
			}
			if stuffing == 0 {
				t.Error("nothing was stuffed")
			}
		}
	}
}

func TestWrongMessagesAreErrors(t *testing.T) {
	c := NewContents(Share{4 << 10, 1})
	good := fetched(c, token{run: "12345678", number: 1})
	at := bytes.Index(good, stuffedDot)
	for name, raw := range map[string][]byte{
		"cut off":       good[:len(good)-100],
		"longer":        append(bytes.Clone(good), "more\r\n"...),
		"a dot lost":    append(bytes.Clone(good[:at+2]), good[at+4:]...),
		"a dot more":    append(append(bytes.Clone(good[:at+2]), '.'), good[at+2:]...),
		"an octet else": append(append(bytes.Clone(good[:2000]), good[2000]+1), good[2001:]...),
		"no token":      []byte("Received: by a server\r\n\r\ntext\r\n"),
		"nothing":       nil,
	} {
		if _, _, err := readMessage(raw); !errors.Is(err, errNotSame) && !errors.Is(err, errNoToken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
