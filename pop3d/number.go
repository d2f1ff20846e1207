package pop3d

import (
	"math"
	"strconv"
	"strings"
)

// number parses an argument of decimal digits, and ignores spaces around it. It returns
// math.MaxInt64 for a number that is larger: no maildrop has as many messages, and no
// message as many lines.
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
