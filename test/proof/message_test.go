package proof

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
)

// tokenField is the field with the token that identifies a message.
const tokenField = "X-Proof: "

// text is what the bodies of messages are cut from: lines of many lengths, some
// of which begin with a dot, hold 8-bit octets or are empty.
var text = func() []byte {
	r := rand.New(rand.NewPCG(1, 2))
	var b bytes.Buffer
	raw := make([]byte, 800)
	for b.Len() < 4<<20 {
		for i := range raw {
			raw[i] = byte(r.Uint32())
		}
		line := base64.StdEncoding.EncodeToString(raw[:r.IntN(len(raw))])
		switch r.IntN(12) {
		case 0:
			line = "." + line
		case 1:
			line = ".."
		case 2:
			line = "."
		case 3:
			line = ""
		case 4:
			line = "gr\xfc\xdfe \x00 " + line
		}
		b.WriteString(line + "\r\n")
	}
	return b.Bytes()
}()

var tokens atomic.Int64

// message is one message as it is sent. It is in canonical form, so it must come back
// octet for octet.
type message struct {
	token   string
	content []byte // nil once the sender is done with it
	digest  [sha256.Size]byte
	to      []string          // local parts of the maildrops that must have it, each once
	paths   map[string]string // by maildrop: the path that led there, if it is another

	// Kept by the ledger.
	state messageState
	id    string // the UIDL, once it is known
}

// newMessage makes a message of about this number of octets.
func newMessage(r *rand.Rand, octets int, to ...string) *message {
	m := &message{token: fmt.Sprintf("%d-%x", tokens.Add(1), r.Uint64()), to: to}
	head := "From: Alice <alice@example.org>\r\n" + tokenField + m.token + "\r\nSubject: " + m.token + "\r\n\r\n"
	begin := r.IntN(len(text) / 2)
	begin += bytes.IndexByte(text[begin:], '\n') + 1
	end := min(begin+octets, len(text)-1)
	end += bytes.IndexByte(text[end:], '\n') + 1
	m.content = append([]byte(head), text[begin:end]...)
	m.seal()
	return m
}

// seal notes the digest of the content.
func (m *message) seal() { m.digest = sha256.Sum256(m.content) }

// anySize returns a random size in octets: mostly small, sometimes too large for one row.
func anySize(r *rand.Rand) int {
	switch n := r.IntN(100); {
	case n < 80:
		return r.IntN(8 << 10)
	case n < 94:
		return r.IntN(100 << 10)
	default:
		return 200<<10 + r.IntN(1<<20)
	}
}

// stuffed returns the content as DATA sends it, without the final dot
// (RFC 5321 section 4.5.2).
func (m *message) stuffed() []byte {
	stuffed := bytes.ReplaceAll(m.content, []byte("\r\n."), []byte("\r\n.."))
	if stuffed[0] == '.' {
		stuffed = append([]byte("."), stuffed...)
	}
	return stuffed
}

// recognise finds the token of a stored message, the digest of its content as
// sent, and the trace fields before that.
func recognise(stored []byte) (token string, digest [sha256.Size]byte, trace string, err error) {
	begin := bytes.Index(stored, []byte("\r\nFrom: Alice "))
	at := bytes.Index(stored, []byte("\r\n"+tokenField))
	if begin < 0 || at < begin {
		return "", digest, "", fmt.Errorf("a message without a token: %.200q", stored)
	}
	rest := stored[at+2+len(tokenField):]
	end := bytes.IndexByte(rest, '\r')
	if end < 0 {
		return "", digest, "", fmt.Errorf("a message that breaks off in its token: %.200q", stored)
	}
	return string(rest[:end]), sha256.Sum256(stored[begin+2:]), string(stored[:begin+2]), nil
}

// traced returns what is wrong with the trace fields of a message in a
// maildrop.
func (m *message) traced(trace, local string) error {
	path := local
	if other := m.paths[local]; other != "" {
		path = other
	}
	for _, want := range []string{"Return-Path: <", "\r\nDelivered-To: " + address(path) + "\r\n", "\r\nReceived: from "} {
		if !strings.Contains(trace, want) {
			return fmt.Errorf("the trace fields lack %q: %q", want, trace)
		}
	}
	return nil
}
