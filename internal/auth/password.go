package auth

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
)

// maxPassword is the longest password taken, in octets.
const maxPassword = 1024

// checkPassword says why a password cannot be used, or nil.
func checkPassword(password string) error {
	switch {
	case password == "":
		return errors.New("the password is empty")
	case len(password) > maxPassword:
		return fmt.Errorf("the password has more than %d octets", maxPassword)
	case strings.IndexByte(password, 0) >= 0:
		return errors.New("the password holds a NUL, which no protocol carries")
	}
	return nil
}

// Generate returns a new random password of 100 bits that can be read out and
// typed: five groups of four from a-z2-7.
func Generate() string {
	text := strings.ToLower(rand.Text())
	return text[:4] + "-" + text[4:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20]
}
