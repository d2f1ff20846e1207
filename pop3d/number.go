package pop3d

import (
	"math"
	"strconv"
	"strings"
)

// number reads an argument of decimal digits, with spaces around it let pass.
// What is too large for an int64 is the largest: no maildrop and no message
// has that many of anything.
func number(argument string) (int64, bool) {
	digits := strings.Trim(argument, " ")
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return math.MaxInt64, true
	}
	return n, true
}
