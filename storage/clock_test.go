package storage_test

import (
	"testing"
	"time"

	"mailsrv/storage"
)

// A clock leaps by boot without network, by a correction, or since nobody ran for days.
func TestClockLeaps(t *testing.T) {
	const day = 24 * time.Hour
	start := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	type look struct {
		now, ran    time.Duration // now after start
		leap, pause time.Duration
		stamp       time.Duration // after start, of what happens at now
	}
	long := start.Sub(time.Unix(0, 0))
	for name, looks := range map[string][]look{
		"a sound clock":          {{0, 0, 0, 0, 0}, {time.Hour, time.Hour, 0, 0, time.Hour}, {30 * time.Hour, time.Hour * 29, 0, 0, 30 * time.Hour}},
		"a short stop":           {{0, 0, 0, 0, 0}, {day, 0, 0, 0, day}},
		"a correction of hours":  {{0, 0, 0, 0, 0}, {-time.Hour, time.Hour, 0, 0, -time.Hour}},
		"a long stop":            {{0, 0, 0, 0, 0}, {3 * day, 0, 3 * day, day, 3 * day}, {3*day + 23*time.Hour, 23 * time.Hour, 0, time.Hour, 3*day + 23*time.Hour}, {4 * day, time.Hour, 0, 0, 4 * day}},
		"1970 until it is right": {{0, 0, 0, 0, 0}, {-long, 0, -long, day, 0}, {time.Hour, time.Hour, long, day, time.Hour}, {25 * time.Hour, day, 0, 0, 25 * time.Hour}},
		"1970 for good":          {{0, 0, 0, 0, 0}, {-long, 0, -long, day, 0}, {day - long, day, 0, 0, day - long}},
		"ahead, then right":      {{0, 0, 0, 0, 0}, {60 * day, 0, 60 * day, day, 60 * day}, {2 * time.Hour, time.Hour, 2*time.Hour - 60*day - time.Hour, day, 2 * time.Hour}, {26 * time.Hour, day, 0, 0, 26 * time.Hour}},
	} {
		t.Run(name, func(t *testing.T) {
			var c storage.ClockState
			for i, l := range looks {
				now := start.Add(l.now)
				var leap time.Duration
				if c, leap = c.Next(now, l.ran); leap != l.leap || c.Pause != l.pause {
					t.Errorf("look %d: leap %v, pause %v; want %v, %v", i, leap, c.Pause, l.leap, l.pause)
				}
				if stamp := c.Stamp(now).Sub(start); stamp != l.stamp {
					t.Errorf("look %d: stamped at %v, want %v", i, stamp, l.stamp)
				}
			}
		})
	}
}
