package main

import (
	"testing"
	"time"

	"mailsrv/internal/directory"
)

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"14d": 14 * day, "1d12h": 36 * time.Hour, "36h": 36 * time.Hour, "90m": 90 * time.Minute,
		"0": 0, "0d": 0, "1d0h10m": day + 10*time.Minute, "10m": 10 * time.Minute, "20s": 20 * time.Second, "65535d": 65535 * day,
	} {
		got, err := parseDuration(text)
		if err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
		again, err := parseDuration(formatDuration(got))
		if err != nil || again != got {
			t.Errorf("%v is written %s, which reads as %v, %v", got, formatDuration(got), again, err)
		}
	}
	for d, want := range map[time.Duration]string{
		14 * day: "14d", 36 * time.Hour: "1d12h", 10 * time.Minute: "10m", 20 * time.Hour: "20h",
		day + 10*time.Second: "1d10s", 0: "0s", time.Hour + time.Second: "1h0m1s",
	} {
		if got := formatDuration(d); got != want {
			t.Errorf("%v is written %s, want %s", d, got, want)
		}
	}
	for _, text := range []string{"", "d", "x", "-1d", "1d-1h", "-2h", "1.5d", "d12h", "99999d", "18446744073709551617d", "14 d", "two days"} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("%q was read as %v", text, got)
		}
	}
}

func TestKeep(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"inherit": 0, "OFF": directory.RetentionOff, "1d": day, "24h": day, "14d": 14 * day,
	} {
		if got, err := parseKeep(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"0", "0d", "23h59m59s", "1d1ms", "-1d", "never", ""} {
		got, err := parseKeep(text)
		if err == nil {
			t.Errorf("%q was read as %v", text, got)
		} else if want := "write a time such as 14d or 36h, at least 1d, or off, or inherit"; err.Error() != want {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestSince(t *testing.T) {
	zone := time.FixedZone("east", 2*60*60)
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, zone)
	for text, want := range map[string]time.Time{
		"2h":                   now.Add(-2 * time.Hour),
		"3d":                   now.Add(-3 * day),
		"2026-11-20":           time.Date(2026, 11, 20, 0, 0, 0, 0, zone),
		"2026-11-20 15:04":     time.Date(2026, 11, 20, 15, 4, 0, 0, zone),
		"2026-11-20T15:04":     time.Date(2026, 11, 20, 15, 4, 0, 0, zone),
		"2026-11-20 15:04:05":  time.Date(2026, 11, 20, 15, 4, 5, 0, zone),
		"2026-11-20T15:04:05":  time.Date(2026, 11, 20, 15, 4, 5, 0, zone),
		"2026-11-20T15:04:05Z": time.Date(2026, 11, 20, 15, 4, 5, 0, time.UTC),
	} {
		if got, err := parseSince(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "yesterday", "2026-13-01", "20.11.2026", "-2h"} {
		if got, err := parseSince(text, now); err == nil {
			t.Errorf("%q was read as %v", text, got)
		}
	}
}
