package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
)

// digest stands for a text that must not be kept itself: a password, a stored hash.
type digest [sha256.Size]byte

// keyed makes digests with a secret of this process, so that they are useless elsewhere.
type keyed struct{ secret [sha256.Size]byte }

func newKeyed() *keyed {
	k := &keyed{}
	rand.Read(k.secret[:])
	return k
}

// digest returns the digest of the texts in their order.
func (k *keyed) digest(texts ...string) (d digest) {
	mac := hmac.New(sha256.New, k.secret[:])
	for _, text := range texts {
		// The length first, so that "ab", "c" and "a", "bc" give different digests.
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(text))))
		mac.Write([]byte(text))
	}
	mac.Sum(d[:0])
	return d
}
