package load

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
)

// The token is the first field of a message:
//
//	X-Load: <run> <number> <first mailbox> <recipients> <length> <digest>
//
// with a fixed width. Length and digest are those of what follows the field.
const (
	tokenName   = "X-Load: "
	tokenFormat = tokenName + "%s %012d %06d %03d %010d %08x\r\n"
	tokenLength = len(tokenName) + runLength + 1 + 13 + 7 + 4 + 11 + 8 + 2
	runLength   = 8
)

// token says where a message belongs.
type token struct {
	run        string
	number     uint64
	first      int // number of the first mailbox it goes to
	recipients int
}

// stride is the distance between the mailboxes of one message. No number of mailboxes used
// here is a multiple of it.
const stride = 101

// mailbox returns the number of the i-th mailbox that the message goes to, where there are
// of mailboxes.
func (t token) mailbox(i, of int) int { return (t.first + i*stride) % of }

// leadsTo reports whether the message belongs into a mailbox, where there are of
// mailboxes.
func (t token) leadsTo(mailbox, of int) bool {
	for i := range t.recipients {
		if t.mailbox(i, of) == mailbox {
			return true
		}
	}
	return false
}

// write appends the token's field.
func (t token) write(b []byte, p *prepared) []byte {
	return fmt.Appendf(b, tokenFormat, t.run, t.number, t.first, t.recipients, p.length, p.digest)
}

var (
	errNoToken   = errors.New("a message without its token")
	errNotSame   = errors.New("a message that is not what was sent")
	tokenAtStart = []byte("\r\n" + tokenName)
	stuffedDot   = []byte("\r\n..")
)

// readMessage checks a message from RETR, dot-stuffed and without the final dot. It returns
// its token and its octets before stuffing.
func readMessage(raw []byte) (t token, octets int, err error) {
	at := bytes.Index(raw, tokenAtStart)
	if at < 0 || at+2+tokenLength > len(raw) {
		return t, 0, errNoToken
	}
	field, rest := raw[at+2:at+2+tokenLength], raw[at+2+tokenLength:]
	words := bytes.Fields(field[len(tokenName):])
	if len(words) != 6 {
		return t, 0, errNoToken
	}
	t.run = string(words[0])
	var numbers [5]uint64
	for i, word := range words[1:] {
		base := 10
		if i == 4 {
			base = 16
		}
		if numbers[i], err = strconv.ParseUint(string(word), base, 64); err != nil {
			return t, 0, errNoToken
		}
	}
	t.number, t.first, t.recipients = numbers[0], int(numbers[1]), int(numbers[2])
	length, digest := digestStuffed(rest)
	if uint64(length) != numbers[3] || uint64(digest) != numbers[4] {
		return t, 0, errNotSame
	}
	return t, at + 2 + tokenLength + length, nil
}

// digestStuffed returns the length and the digest that dot-stuffed lines have without the
// stuffing. The first line is a header field and never stuffed.
func digestStuffed(raw []byte) (length int, digest uint32) {
	for {
		at := bytes.Index(raw, stuffedDot)
		if at < 0 {
			return length + len(raw), crc32.Update(digest, castagnoli, raw)
		}
		digest = crc32.Update(digest, castagnoli, raw[:at+3])
		length += at + 3
		raw = raw[at+4:]
	}
}
