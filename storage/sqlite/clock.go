package sqlite

import (
	"context"
	"database/sql/driver"
	"time"

	"mailsrv/storage"
	"mailsrv/storage/sqlite/db"
)

// readClock reads what the store knows of the clock. If the row of store is missing it knows
// nothing.
func readClock(c *db.Conn) (state storage.ClockState, err error) {
	err = db.Guarded(func() error {
		return c.Each("SELECT noted, seen, pause FROM store", func(row []driver.Value) error {
			if noted := row[0].(int64); noted != 0 {
				state.Noted, state.Seen = time.Unix(noted, 0), time.Unix(row[1].(int64), 0)
			}
			state.Pause = time.Duration(row[2].(int64)) * time.Second
			return nil
		})
	})
	return state, err
}

// recallClock reads the time up to which the clock was seen to be right. If that is damaged,
// mail is served without it, and Check reports the damage.
func (s *Store) recallClock(c *db.Conn) error {
	clock, err := readClock(c)
	if db.IsDamage(err) {
		return nil
	}
	if err == nil && !clock.Seen.IsZero() {
		s.seen.Store(clock.Seen.Unix())
	}
	return err
}

// LookAtClock implements storage.Clock.
func (s *Store) LookAtClock(ctx context.Context, now time.Time, ran time.Duration) (leap, pause time.Duration, err error) {
	err = s.keepClock(ctx, func(state storage.ClockState) (next storage.ClockState) {
		next, leap = state.Next(now, ran)
		pause = next.Pause
		return next
	})
	return leap, pause, err
}

// ClockIsRight implements storage.Clock.
func (s *Store) ClockIsRight(ctx context.Context, now time.Time) error {
	return s.keepClock(ctx, func(storage.ClockState) storage.ClockState { return storage.ClockState{Noted: now, Seen: now} })
}

func (s *Store) keepClock(ctx context.Context, next func(storage.ClockState) storage.ClockState) error {
	var state storage.ClockState
	err := s.change(ctx, func(c *db.Conn) (err error) {
		if state, err = readClock(c); err != nil {
			return err
		}
		state = next(state)
		_, _, err = c.Exec("UPDATE store SET noted = ?, seen = ?, pause = ?", state.Noted.Unix(), state.Seen.Unix(), int64(state.Pause/time.Second))
		return err
	})
	if err == nil {
		s.seen.Store(state.Seen.Unix())
	}
	return err
}

// now returns the time to write into rows.
func (s *Store) now() time.Time {
	return storage.ClockState{Seen: time.Unix(s.seen.Load(), 0)}.Stamp(time.Now())
}
