package pop3d

import (
	"math"
	"testing"
)

func TestNumber(t *testing.T) {
	for argument, want := range map[string]int64{
		"0": 0, "1": 1, "01": 1, " 7 ": 7, "4294967297": 4294967297,
		"9223372036854775807": math.MaxInt64, "9223372036854775808": math.MaxInt64,
		"99999999999999999999": math.MaxInt64,
		"":                     -1, " ": -1, "-1": -1, "+1": -1, "1 2": -1, "1x": -1, "0x1": -1, "1_0": -1, "1.0": -1,
		"1\x00": -1, "\u0663": -1, "\t1": -1,
	} {
		n, ok := number(argument)
		if ok != (want >= 0) || ok && n != want {
			t.Errorf("number(%q) = %d, %v", argument, n, ok)
		}
	}
}
