package auth

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// maxPassword is the longest password taken, in octets.
const maxPassword = 1024

// checkPassword says why a new password cannot be used, or nil.
func checkPassword(password string) error {
	switch {
	case password == "":
		return errors.New("the password is empty")
	case len(password) > maxPassword:
		return fmt.Errorf("the password has more than %d octets", maxPassword)
	case strings.ContainsRune(password, '\ufeff'):
		return errors.New("the password holds a byte-order mark, which nobody types: save the file without one")
	case strings.ContainsFunc(password, unicode.IsControl):
		return errors.New("the password holds a control character, such as a tab, which mail programs cannot send: choose another")
	}
	return nil
}

// possible reports whether a password may be that of some mailbox. Control
// characters may: a hash from another system can be of anything.
func possible(password string) bool {
	return password != "" && len(password) <= maxPassword
}

// Generate returns a new random password of 100 bits that can be read out and
// typed: five groups of four from a-z2-7.
func Generate() string {
	text := strings.ToLower(rand.Text())
	return text[:4] + "-" + text[4:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20]
}
