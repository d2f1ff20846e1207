package pop3d

import (
	"testing"
	"time"
)

func TestExpirePromise(t *testing.T) {
	const day = 24 * time.Hour
	for _, test := range []struct {
		keeps []time.Duration
		want  string
	}{
		{nil, "NEVER"}, // no mailbox yet
		{[]time.Duration{0}, "NEVER"},
		{[]time.Duration{14 * day}, "14"},
		{[]time.Duration{15*day - time.Second}, "14"},
		{[]time.Duration{day}, "1"},
		{[]time.Duration{30 * day, 7 * day}, "7 USER"},
		{[]time.Duration{0, 7 * day}, "7 USER"},
		{[]time.Duration{7 * day, 0}, "7 USER"},
		{[]time.Duration{7 * day, 7*day + time.Hour}, "7"}, // the same promise
	} {
		if got := expirePromise(test.keeps...); got != test.want {
			t.Errorf("%v: EXPIRE %s, want %s", test.keeps, got, test.want)
		}
	}
}
