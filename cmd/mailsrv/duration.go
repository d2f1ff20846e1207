package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"mailsrv/internal/directory"
)

const day = 24 * time.Hour

// parseDuration parses a time such as 14d, 1d12h or 90m.
func parseDuration(text string) (time.Duration, error) {
	var days, rest time.Duration
	if number, tail, found := strings.Cut(text, "d"); found {
		n, err := strconv.ParseUint(number, 10, 16) // longer would not fit a Duration
		if err != nil {
			return 0, err
		}
		if days, text = time.Duration(n)*day, tail; text == "" {
			return days, nil
		}
	}
	rest, err := time.ParseDuration(text)
	if err != nil || rest < 0 {
		return 0, errors.New("not a time")
	}
	return days + rest, nil
}

// formatDuration writes a time as parseDuration reads it.
func formatDuration(d time.Duration) string {
	text := ""
	if d >= day {
		text, d = strconv.Itoa(int(d/day))+"d", d%day
	}
	if d == 0 && text != "" {
		return text
	}
	rest := d.String() // such as 1h0m0s, whose zero parts are left out
	if strings.HasSuffix(rest, "m0s") {
		rest = strings.TrimSuffix(rest, "0s")
	}
	if strings.HasSuffix(rest, "h0m") {
		rest = strings.TrimSuffix(rest, "0m")
	}
	return text + rest
}

// parseKeep parses one part of a directory.Retention.
func parseKeep(text string) (time.Duration, error) {
	switch strings.ToLower(text) {
	case inherit:
		return 0, nil
	case "off":
		return directory.RetentionOff, nil
	}
	d, err := parseDuration(text)
	if err != nil || d < directory.MinRetention || d%time.Second != 0 {
		return 0, fmt.Errorf("write a time such as 14d or 36h, at least %s, or off, or inherit", formatDuration(directory.MinRetention))
	}
	return d, nil
}

// moments are the forms in which a moment may be written, in local time if there is no zone.
var moments = []string{"2006-01-02", "2006-01-02 15:04", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02T15:04:05", time.RFC3339}

// parseSince parses a moment, or a duration before now.
func parseSince(text string, now time.Time) (time.Time, error) {
	if d, err := parseDuration(text); err == nil {
		return now.Add(-d), nil
	}
	for _, form := range moments {
		if at, err := time.ParseInLocation(form, text, now.Location()); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time: write 2h or 3d for so long ago, a day such as 2026-11-20, or \"2026-11-20 15:04\"", text)
}
