package auth

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// maxPassword is the longest password accepted, in octets.
const maxPassword = 1024

// checkPassword returns nil if a new password can be used, or an error that tells why not.
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

// possible reports whether some mailbox may have this password. Control characters are
// possible: a hash from another system can be that of any text.
func possible(password string) bool {
	return password != "" && len(password) <= maxPassword
}

// Generate returns a new random password of 100 bits that is easy to read out and to type:
// five groups of four characters from a-z2-7.
func Generate() string {
	text := strings.ToLower(rand.Text())
	return text[:4] + "-" + text[4:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20]
}
