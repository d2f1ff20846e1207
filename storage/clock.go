package storage

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// The clock of a store. A clock that is wrong, such as one that stands at 1970 after a
// start without network, must not remove mail whose time is not over.
const (
	// ClockLeap is how far the clock may stand from where it was expected.
	ClockLeap = 24 * time.Hour
	// ClockPause is for how long a server runs after a leap before mail is removed again
	// because of its age.
	ClockPause = 24 * time.Hour
)

// ClockState is what a store knows of the clock.
type ClockState struct {
	Noted time.Time     // where the clock stood when it was last looked at; zero: never
	Seen  time.Time     // the latest time that was no leap, or outlasted its pause
	Pause time.Duration // of running time, for which nothing is removed because of its age
}

// Next is the state after a look at the clock, which shows now, by a server that has run
// for so long since its look before; 0: it has just started. leap is by how much the clock
// stands ahead of where it was expected, less than 0: behind, and 0 within ClockLeap.
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

// Stamp is the time to note for what happens now: never before the latest that was seen,
// so that what a wrong clock stamps is not taken for old later.
func (c ClockState) Stamp(now time.Time) time.Time {
	if now.Before(c.Seen) {
		return c.Seen
	}
	return now
}

// ErrLeap: nothing is removed because of its age for a while.
var ErrLeap = errors.New("nothing is removed because of its age")

// LeapError is an ErrLeap that says why, and for how much longer.
type LeapError struct {
	Leap  time.Duration // see ClockState.Next; 0: it was noted before
	Pause time.Duration // of running time
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

// Unwrap makes it an ErrLeap.
func (e *LeapError) Unwrap() error { return ErrLeap }

// Clock keeps the ClockState of a store. All methods are safe for concurrent use.
type Clock interface {
	// LookAtClock notes that the clock shows now, after a server has run for so long since
	// its look before (see ClockState.Next), and returns the leap and the pause that is
	// left: meanwhile nobody calls Collect. A server looks at its start and at least
	// hourly.
	LookAtClock(ctx context.Context, now time.Time, ran time.Duration) (leap, pause time.Duration, err error)
	// ClockIsRight ends a pause: the time is now.
	ClockIsRight(ctx context.Context, now time.Time) error
}
