package auth

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"

	"github.com/go-crypt/crypt/algorithm/shacrypt"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// Parameters of the hashes made here (OWASP's second choice of argon2id).
const (
	argonMemory  = 19 << 10 // KiB
	argonTime    = 2
	argonThreads = 1
	argonSalt    = 16 // octets
	argonKey     = 32
)

// Bounds on the parameters of a stored hash, and so on the cost of computing it.
const (
	maxArgonMemory  = 128 << 10 // KiB
	maxArgonWork    = 512 << 10 // KiB, memory times passes
	maxArgonThreads = 8
	maxBcryptCost   = 16
	minSHARounds    = 1000
	maxSHARounds    = 1_000_000
)

// maxSHAPassword is the longest password, in octets, for which sha-crypt is computed. Its
// cost grows with the password, which a stranger chooses: with 1,024 octets a million
// rounds take seconds.
const maxSHAPassword = 128

// bcryptSignificant is the number of a password's octets that bcrypt uses.
const bcryptSignificant = 72

var (
	errHashForm = errors.New("not a password hash this server knows: $argon2id$, $2y$ (also $2a$, $2b$), $6$ or $5$, without a {SCHEME} before it")

	argonForm  = regexp.MustCompile(`^\$argon2id\$v=19\$m=([1-9]\d{0,8}),t=([1-9]\d{0,8}),p=([1-9]\d{0,2})\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})$`)
	bcryptForm = regexp.MustCompile(`^\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}$`)
	shaForm    = regexp.MustCompile(`^\$(?:5\$(?:rounds=([1-9]\d*)\$)?[!-#%-9;-~]{1,16}\$[./A-Za-z0-9]{43}|6\$(?:rounds=([1-9]\d*)\$)?[!-#%-9;-~]{1,16}\$[./A-Za-z0-9]{86})$`)
)

// Hash returns the argon2id hash of a new password in PHC string format. An error tells
// why the password cannot be used.
func Hash(password string) (string, error) {
	if err := checkPassword(password); err != nil {
		return "", err
	}
	return newHash(password), nil
}

// ValidateHash returns nil if a password hash from another system can be stored, or else an
// error that tells why not. Its errors never hold the hash.
func ValidateHash(hash string) error {
	_, err := parseHash(hash)
	return err
}

func newHash(password string) string {
	salt := make([]byte, argonSalt)
	rand.Read(salt)
	return formatArgon(salt, argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonThreads, argonKey))
}

func formatArgon(salt, key []byte) string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
		argonMemory, argonTime, argonThreads, b64.EncodeToString(salt), b64.EncodeToString(key))
}

// passwordHash is a parsed stored hash whose cost is within the bounds.
type passwordHash struct {
	matches     func(password []byte) bool // costs what the hash asks for
	foreign     bool                       // its cost differs from that of hashes made here
	outdated    bool                       // weaker than hashes made here
	significant int                        // octets of a password that matches uses
	longest     int                        // octets; a longer password is wrong without being computed
}

// dummyHash returns a hash that costs as much as those made here and that no password
// matches.
func dummyHash() passwordHash {
	salt, key := make([]byte, argonSalt), make([]byte, argonKey)
	rand.Read(key)
	h, err := parseHash(formatArgon(salt, key))
	if err != nil {
		panic(err) // parseHash accepts the hashes made here
	}
	return h
}

// parseHash parses a hash in modular crypt format.
func parseHash(hash string) (passwordHash, error) {
	if m := argonForm.FindStringSubmatch(hash); m != nil {
		return parseArgon(m[1], m[2], m[3], m[4], m[5])
	}
	if m := bcryptForm.FindStringSubmatch(hash); m != nil {
		return parseBcrypt(hash, m[1])
	}
	if m := shaForm.FindStringSubmatch(hash); m != nil {
		return parseSHA(hash, m[1]+m[2])
	}
	return passwordHash{}, errHashForm
}

func parseArgon(memory, passes, threads, salt64, key64 string) (passwordHash, error) {
	m, t, p := number(memory), number(passes), number(threads)
	if m > maxArgonMemory || m*t > maxArgonWork || p > maxArgonThreads || m < 8*p {
		return passwordHash{}, fmt.Errorf("argon2id with m=%d,t=%d,p=%d is out of bounds: at most m=%d, m times t %d, p=%d",
			m, t, p, maxArgonMemory, maxArgonWork, maxArgonThreads)
	}
	salt, saltErr := base64.RawStdEncoding.DecodeString(salt64)
	key, keyErr := base64.RawStdEncoding.DecodeString(key64)
	if saltErr != nil || keyErr != nil {
		return passwordHash{}, errHashForm
	}
	return passwordHash{
		matches: func(password []byte) bool {
			got := argon2.IDKey(password, salt, uint32(t), uint32(m), uint8(p), uint32(len(key)))
			return subtle.ConstantTimeCompare(got, key) == 1
		},
		foreign:     m != argonMemory || t != argonTime || p != argonThreads,
		outdated:    m*t < argonMemory*argonTime,
		significant: math.MaxInt,
		longest:     maxPassword,
	}, nil
}

func parseBcrypt(hash, cost string) (passwordHash, error) {
	if c := number(cost); c < bcrypt.MinCost || c > maxBcryptCost {
		return passwordHash{}, fmt.Errorf("bcrypt cost %s is out of bounds: %d to %d", cost, bcrypt.MinCost, maxBcryptCost)
	}
	return passwordHash{
		matches: func(password []byte) bool {
			return bcrypt.CompareHashAndPassword([]byte(hash), password) == nil
		},
		foreign:     true,
		outdated:    true,
		significant: bcryptSignificant,
		longest:     maxPassword,
	}, nil
}

func parseSHA(hash, rounds string) (passwordHash, error) {
	if n := number(rounds); rounds != "" && (n < minSHARounds || n > maxSHARounds) {
		return passwordHash{}, fmt.Errorf("sha-crypt with %s rounds is out of bounds: %d to %d", rounds, minSHARounds, maxSHARounds)
	}
	digest, err := shacrypt.Decode(hash)
	if err != nil {
		return passwordHash{}, errHashForm
	}
	return passwordHash{
		matches:     digest.MatchBytes,
		foreign:     true,
		outdated:    true,
		significant: math.MaxInt,
		longest:     maxSHAPassword,
	}, nil
}

// number parses decimal digits. A number that is too large for an int gives a value beyond
// every bound.
func number(digits string) int {
	n, err := strconv.Atoi(digits)
	if err != nil {
		return math.MaxInt
	}
	return n
}
