package quota

import (
	"fmt"
	"math"
	"math/big"
	"strings"
)

// units maps a lower-cased suffix to octets. Decimal and binary multiples are
// told apart as IEC 80000-13 does: 1 GB is 10^9 octets, 1 GiB is 2^30. A letter
// alone is binary, as Dovecot's quotas and most tools of a shell have it.
var units = map[string]int64{
	"": 1, "b": 1,
	"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50, "e": 1 << 60,
	"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12, "pb": 1e15, "eb": 1e18,
	"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40, "pib": 1 << 50, "eib": 1 << 60,
}

// ParseSize reads an amount of octets such as "500MiB", "1.5GB", "2G" (2 GiB),
// "4096" or "0" (no limit). Case does not matter, and a space may stand before the
// unit. Its error says what to write.
func ParseSize(s string) (int64, error) {
	text := strings.ToLower(strings.TrimSpace(s))
	digits := strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyz ")
	unit, known := units[strings.TrimSpace(text[len(digits):])]
	whole, fraction, _ := strings.Cut(digits, ".")
	bad := !known || whole == "" || len(digits) > 24 || strings.HasSuffix(digits, ".") ||
		strings.Trim(whole+fraction, "0123456789") != ""
	if bad {
		return 0, fmt.Errorf("%q is not a size: write a number and a unit, such as 500MiB, 1GB, or 0 for no limit", s)
	}
	amount, _ := new(big.Rat).SetString(digits)
	amount.Mul(amount, new(big.Rat).SetInt64(unit))
	octets := new(big.Int).Quo(amount.Num(), amount.Denom())
	switch {
	case !octets.IsInt64():
		return 0, fmt.Errorf("%q is too large: the most is %d octets", s, int64(math.MaxInt64))
	case octets.Sign() == 0 && amount.Sign() != 0: // it would become "no limit"
		return 0, fmt.Errorf("%q is less than one octet; write 0 for no limit", s)
	}
	return octets.Int64(), nil
}

// FormatSize writes octets with the largest binary unit that keeps the number
// at least 1, to one decimal: "1.5GiB", "500MiB", "0B".
func FormatSize(octets int64) string {
	const names = "KMGTPE"
	if octets < 1<<10 {
		return fmt.Sprintf("%dB", octets)
	}
	value, i := float64(octets)/1024, 0
	for value >= 1023.95 && i < len(names)-1 {
		value /= 1024
		i++
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", value), ".0") + names[i:i+1] + "iB"
}
