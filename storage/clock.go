package storage

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A wrong clock, such as one that is at 1970 after a start without network, must not cause
// the removal of mail whose time is not over.
const (
	// ClockLeap is by how much the clock may differ from the expected time.
	ClockLeap = 24 * time.Hour
	// ClockPause is for how long a server must run after a leap before it removes mail
	// because of its age again.
	ClockPause = 24 * time.Hour
)

// ClockState is what a store knows of the clock.
type ClockState struct {
	Noted time.Time     // the time of the last look at the clock; zero: never
	Seen  time.Time     // the latest time that was no leap, or that outlasted its pause
	Pause time.Duration // how long a server must still run before it removes mail by age
}

// Next returns the state after a look at the clock, which shows now. The server has run for
// ran since its previous look; 0: it has just started. leap is by how much the clock is
// ahead of the expected time, negative if it is behind, and 0 if it differs by no more
// than [ClockLeap].
func (c ClockState) Next(now time.Time, ran time.Duration) (next ClockState, leap time.Duration) {
	next = ClockState{Noted: now, Seen: c.Seen, Pause: max(0, c.Pause-ran)}
	if off := now.Sub(c.Noted.Add(ran)); !c.Noted.IsZero() && off.Abs() > ClockLeap {
		next.Pause, leap = ClockPause, off
	}
	if next.Pause == 0 {
		next.Seen = now
	}
	return next, leap
}

// Stamp returns the time to store for what happens now. It is not before c.Seen, so that
// what was stored while the clock was wrong does not seem old later.
func (c ClockState) Stamp(now time.Time) time.Time {
	if now.Before(c.Seen) {
		return c.Seen
	}
	return now
}

// ErrLeap: after a leap of the clock nothing is removed because of its age for a while.
var ErrLeap = errors.New("nothing is removed because of its age")

// LeapError wraps [ErrLeap], and says why and for how much longer.
type LeapError struct {
	Leap  time.Duration // as of ClockState.Next; 0: an earlier look found the leap
	Pause time.Duration // how long the server must still run
}

func (e *LeapError) Error() string {
	why := "the clock was set to another day"
	switch {
	case e.Leap > 0:
		why = fmt.Sprintf("the clock stands %v ahead of where it was expected", e.Leap.Round(time.Hour))
	case e.Leap < 0:
		why = fmt.Sprintf("the clock stands %v behind where it was expected", -e.Leap.Round(time.Hour))
	}
	return fmt.Sprintf("%s: %v while the server runs for %v", why, ErrLeap, e.Pause.Round(time.Minute))
}

// Unwrap returns [ErrLeap].
func (e *LeapError) Unwrap() error { return ErrLeap }

// Clock keeps the [ClockState] of a store. All methods are safe for concurrent use.
type Clock interface {
	// LookAtClock stores that the clock shows now, after the server has run for ran since
	// its previous look, and returns the leap (see ClockState.Next) and the rest of the
	// pause. Collect must not be called during a pause. A server looks at its start and
	// at least once an hour.
	LookAtClock(ctx context.Context, now time.Time, ran time.Duration) (leap, pause time.Duration, err error)
	// ClockIsRight ends a pause, since somebody has said that the time is now.
	ClockIsRight(ctx context.Context, now time.Time) error
}
