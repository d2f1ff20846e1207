package quota_test

import (
	"math"
	"testing"

	"mailsrv/quota"
)

func TestJudge(t *testing.T) {
	const most = math.MaxInt64
	for _, test := range []struct {
		name   string
		limit  quota.Limit
		u, add quota.Usage
		want   quota.Verdict
	}{
		{"nothing held", quota.Limit{Octets: 100, Messages: 2}, quota.Usage{}, quota.Usage{Octets: 100, Messages: 1}, quota.Fits},
		{"exactly to the octet", quota.Limit{Octets: 100}, quota.Usage{Octets: 60}, quota.Usage{Octets: 40, Messages: 1}, quota.Fits},
		{"one octet too many", quota.Limit{Octets: 100}, quota.Usage{Octets: 60}, quota.Usage{Octets: 41, Messages: 1}, quota.Full},
		{"larger than all", quota.Limit{Octets: 100}, quota.Usage{}, quota.Usage{Octets: 101, Messages: 1}, quota.TooLarge},
		{"larger than all, and full", quota.Limit{Octets: 100}, quota.Usage{Octets: 100}, quota.Usage{Octets: 101, Messages: 1}, quota.TooLarge},
		{"larger than all, messages full", quota.Limit{Octets: 100, Messages: 1}, quota.Usage{Messages: 1}, quota.Usage{Octets: 101, Messages: 1}, quota.TooLarge},
		{"last message", quota.Limit{Messages: 2}, quota.Usage{Messages: 1}, quota.Usage{Octets: most, Messages: 1}, quota.Fits},
		{"a message too many", quota.Limit{Messages: 2}, quota.Usage{Messages: 2}, quota.Usage{Messages: 1}, quota.Full},
		{"more messages than all", quota.Limit{Messages: 2}, quota.Usage{}, quota.Usage{Messages: 3}, quota.TooLarge},
		{"unlimited", quota.Limit{Octets: quota.Unlimited, Messages: quota.Unlimited}, quota.Usage{Octets: most, Messages: most}, quota.Usage{Octets: most, Messages: most}, quota.Fits},
		{"inherit does not constrain", quota.Limit{}, quota.Usage{Octets: 5}, quota.Usage{Octets: 5, Messages: 1}, quota.Fits},
		{"above a lowered limit", quota.Limit{Octets: 100}, quota.Usage{Octets: 200}, quota.Usage{Octets: 1, Messages: 1}, quota.Full},
		{"above a lowered limit of messages", quota.Limit{Messages: 1}, quota.Usage{Messages: 3}, quota.Usage{Octets: 1, Messages: 1}, quota.Full},
		{"nothing added above a limit", quota.Limit{Octets: 100}, quota.Usage{Octets: 200}, quota.Usage{}, quota.Fits},
		{"sum overflows", quota.Limit{Octets: most}, quota.Usage{Octets: most - 1}, quota.Usage{Octets: most}, quota.Full},
		{"widest limit, exactly", quota.Limit{Octets: most}, quota.Usage{Octets: most - 1}, quota.Usage{Octets: 1}, quota.Fits},
	} {
		if got := test.limit.Judge(test.u, test.add); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}

// Whatever is added because Judge said that it fits, usage stays within the
// limit.
func FuzzJudge(f *testing.F) {
	f.Add(int64(100), int64(60), int64(40))
	f.Add(int64(math.MaxInt64), int64(math.MaxInt64), int64(1))
	f.Fuzz(func(t *testing.T, limit, held, add int64) {
		if limit <= 0 || held < 0 || add <= 0 {
			return
		}
		octets := quota.Limit{Octets: limit}.Judge(quota.Usage{Octets: held}, quota.Usage{Octets: add})
		messages := quota.Limit{Messages: limit}.Judge(quota.Usage{Messages: held}, quota.Usage{Messages: add})
		if octets != messages {
			t.Errorf("octets %d, messages %d", octets, messages)
		}
		fits := uint64(held)+uint64(add) <= uint64(limit)
		if fits != (octets == quota.Fits) || (octets == quota.TooLarge) != (add > limit) {
			t.Errorf("verdict %d", octets)
		}
	})
}

func TestOr(t *testing.T) {
	mailbox := quota.Limit{Messages: 5}
	domain := quota.Limit{Messages: 7}
	server := quota.Limit{Octets: 1 << 30, Messages: quota.Unlimited}
	if got, want := mailbox.Or(domain).Or(server), (quota.Limit{Octets: 1 << 30, Messages: 5}); got != want {
		t.Errorf("got %+v", got)
	}
	unlimited := quota.Limit{Octets: quota.Unlimited, Messages: quota.Unlimited}
	if got := unlimited.Or(server); got != unlimited {
		t.Errorf("unlimited inherits: %+v", got)
	}
	if got := (quota.Limit{}).Or(server); got != server {
		t.Errorf("what is not set does not inherit: %+v", got)
	}
}

func TestAdd(t *testing.T) {
	got := quota.Usage{Octets: 1, Messages: 2}.Add(quota.Usage{Octets: 10, Messages: 20})
	if want := (quota.Usage{Octets: 11, Messages: 22}); got != want {
		t.Errorf("got %+v", got)
	}
}

func TestPercent(t *testing.T) {
	for _, test := range []struct {
		limit   quota.Limit
		usage   quota.Usage
		want    int
		limited bool
	}{
		{quota.Limit{Octets: quota.Unlimited, Messages: quota.Unlimited}, quota.Usage{Octets: 5, Messages: 5}, 0, false},
		{quota.Limit{Octets: quota.Inherit}, quota.Usage{Octets: 5}, 0, false},
		{quota.Limit{Octets: 100}, quota.Usage{}, 0, true},
		{quota.Limit{Octets: 100}, quota.Usage{Octets: 29}, 29, true},
		{quota.Limit{Octets: 1000}, quota.Usage{Octets: 999}, 99, true},
		{quota.Limit{Octets: 100}, quota.Usage{Octets: 100}, 100, true},
		{quota.Limit{Octets: 100}, quota.Usage{Octets: 250}, 250, true},
		{quota.Limit{Octets: 100, Messages: 4}, quota.Usage{Octets: 10, Messages: 3}, 75, true},
		{quota.Limit{Octets: math.MaxInt64}, quota.Usage{Octets: math.MaxInt64}, 100, true},
	} {
		if got, limited := test.limit.Percent(test.usage); got != test.want || limited != test.limited {
			t.Errorf("%+v of %+v: %d, %t", test.usage, test.limit, got, limited)
		}
	}
}

func TestPercentIsExact(t *testing.T) {
	for n := range int64(101) {
		if got, _ := (quota.Limit{Octets: 100}).Percent(quota.Usage{Octets: n}); got != int(n) {
			t.Errorf("%d of 100: %d", n, got)
		}
	}
}
