package load

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
)

// Share is a message size in octets, before dot-stuffing, and its weight among the sizes.
type Share struct {
	Size   int
	Weight int
}

// Realistic is a mix of sizes as a mail server for people gets it.
var Realistic = []Share{{4 << 10, 50}, {16 << 10, 30}, {75 << 10, 15}, {500 << 10, 5}}

// Contents are messages made beforehand, all but their tokens.
type Contents struct {
	bySize  [][]prepared
	weights []int
	total   int
}

// prepared is what follows the token of a message.
type prepared struct {
	stuffed []byte // dot-stuffed, with the final dot
	length  int    // octets before stuffing
	digest  uint32
}

// variants is how many different messages of a size there are.
const variants = 8

// variantsOf returns the number of variants of a size: fewer of large ones, to save
// memory.
func variantsOf(size int) int {
	if size > 1<<20 {
		return 1
	}
	return variants
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// NewContents makes messages of these sizes. It is deterministic.
func NewContents(shares ...Share) *Contents {
	random := rand.New(rand.NewPCG(1, 2))
	c := &Contents{}
	for _, share := range shares {
		var all []prepared
		for v := range variantsOf(share.Size) {
			all = append(all, prepare(text(random, v, share.Size-tokenLength)))
		}
		c.bySize = append(c.bySize, all)
		c.weights = append(c.weights, share.Weight)
		c.total += share.Weight
	}
	return c
}

// pick returns the message with a number. It is the same for every server.
func (c *Contents) pick(number uint64) *prepared {
	h := scatter(number)
	at := int(h % uint64(c.total))
	size := 0
	for at >= c.weights[size] {
		at -= c.weights[size]
		size++
	}
	all := c.bySize[size]
	return &all[(h>>32)%uint64(len(all))]
}

// scatter is the finaliser of SplitMix64, so that successive numbers get unrelated sizes.
func scatter(n uint64) uint64 {
	n += 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}

// text makes the header and the lines of a message of exactly size octets.
func text(random *rand.Rand, variant, size int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: Load <load@example.org>\r\nTo: somebody@example.org\r\nSubject: message %d\r\n"+
		"Date: Mon, 2 Nov 2026 10:00:00 +0000\r\nMessage-ID: <load.%d.%d@example.org>\r\n"+
		"MIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n", variant, variant, size)
	raw := make([]byte, 57)
	for n := 0; b.Len() < size; n++ {
		for i := range raw {
			raw[i] = byte(random.Uint32())
		}
		line := base64.StdEncoding.EncodeToString(raw) // of 76 characters
		if n%25 == 3 {
			line = "." + line[1:]
		}
		b.WriteString(line + "\r\n")
	}
	// Cut to size, with a line end at the end.
	all := b.Bytes()[:size]
	copy(all[size-2:], "\r\n")
	if all[size-3] == '\r' {
		all[size-3] = 'x'
	}
	return all
}

func prepare(text []byte) prepared {
	stuffed := bytes.ReplaceAll(text, []byte("\r\n."), []byte("\r\n.."))
	return prepared{
		stuffed: append(stuffed, ".\r\n"...),
		length:  len(text),
		digest:  crc32.Checksum(text, castagnoli),
	}
}
