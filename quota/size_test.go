package quota_test

import (
	"math"
	"strings"
	"testing"

	"mailsrv/quota"
)

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"0":                   0,
		"4096":                4096,
		"500MiB":              500 << 20,
		"500 MiB":             500 << 20,
		" 1gib ":              1 << 30,
		"1GB":                 1e9,
		"1.5GB":               15e8,
		"1.5GiB":              3 << 29,
		"0.1KiB":              102,
		"7B":                  7,
		"7b":                  7,
		"2tb":                 2e12,
		"2TiB":                2 << 40,
		"3PB":                 3e15,
		"3PiB":                3 << 50,
		"4K":                  4 << 10,
		"500M":                500 << 20,
		"1.5 g":               3 << 29,
		"2T":                  2 << 40,
		"3P":                  3 << 50,
		"1E":                  1 << 60,
		"9223372036854775807": math.MaxInt64,
	} {
		if got, err := quota.ParseSize(text); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", " ", "MiB", "-1", "+1", "-1GiB", "1.GiB", ".5GiB", "1..5GiB", "1.5.5", "1,5GiB",
		"1e3", "0x10", "1 000", "1Mi", "1Mib b", "1XiB", "GiB1", "NaN", "Inf", "1/2", "½GiB", "8E",
		"9223372036854775808", "8EiB", "9999999999GiB", strings.Repeat("9", 1000),
		"0.4B", "0.0001KiB", // would be 0, which means no limit
	} {
		if got, err := quota.ParseSize(text); err == nil {
			t.Errorf("%q: %d", text, got)
		}
	}
}

func TestFormatSize(t *testing.T) {
	for octets, want := range map[int64]string{
		0:             "0B",
		1023:          "1023B",
		1024:          "1KiB",
		1536:          "1.5KiB",
		1<<20 - 1:     "1MiB",
		500 << 20:     "500MiB",
		3 << 29:       "1.5GiB",
		2 << 40:       "2TiB",
		3 << 50:       "3PiB",
		math.MaxInt64: "8EiB",
	} {
		if got := quota.FormatSize(octets); got != want {
			t.Errorf("%d: %s, want %s", octets, got, want)
		}
	}
}

// No text makes a negative size or none by accident, and what is written can
// be read again and means nearly the same.
func FuzzParseSize(f *testing.F) {
	for _, text := range []string{"0", "500MiB", "1.5 gb", "9223372036854775807", "0.4B", "K", "1e9", "7.99EiB", "\u212AB"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		octets, err := quota.ParseSize(text)
		if err != nil {
			return
		}
		if octets < 0 {
			t.Fatalf("%q: %d", text, octets)
		}
		if octets == 0 && strings.ContainsAny(text, "123456789") {
			t.Fatalf("%q means no limit", text)
		}
		written := quota.FormatSize(octets)
		again, err := quota.ParseSize(written)
		if err != nil {
			if written == "8EiB" { // the largest amounts are rounded up to 2^63
				return
			}
			t.Fatalf("%q is written %q: %v", text, written, err)
		}
		if difference := math.Abs(float64(again) - float64(octets)); difference > 0.05*float64(octets) {
			t.Errorf("%q is %d octets, written %q, read %d", text, octets, written, again)
		}
	})
}
