package sqlite

import (
	"sync/atomic"

	"mailsrv/storage/sqlite/commit"
	"mailsrv/storage/sqlite/db"
	"mailsrv/storage/sqlite/tables"
)

// Bounds of arrivals. The more wait, the more of them go to one page; whoever lists
// a maildrop or deletes from it looks through those that wait.
const (
	manyArrivals = 128             // compacted at the next rest when more wait; fewer, at the next look
	maxArrivals  = 2048            // compacted beside deliveries when more wait
	sliceCompact = maxArrivals / 4 // in one batch, beside as many as it brings
)

// Bounds of garbage. With more than maxBacklog waiting a slice grows with what waits: at
// maxSliceBodies it frees more than any batch can bring.
const (
	maxBacklog     = 4096 // bodies; collected beside deliveries when more wait
	sliceBodies    = 64
	maxSliceBodies = 2 * commit.MaxBatch
)

// upkeep is compaction of arrivals and collection of garbage. Compaction comes first.
// It belongs to the engine's goroutine, but for addGarbage.
type upkeep struct {
	space  *commit.Space
	engine *commit.Engine

	arrived   int64 // arrivals that wait to be compacted
	compacted int64 // the id up to which this round has compacted them
	compact   *commit.Work

	backlog atomic.Int64 // bodies that may be garbage
	garbage atomic.Bool  // there may be some
	collect *commit.Work
	free    func(c *db.Conn, bodies int64) (tables.Progress, error) // a slice of it
}

func newUpkeep(space *commit.Space, health *commit.Health) *upkeep {
	return &upkeep{
		space:   space,
		compact: health.NewWork("new mail is no longer put with the rest of its maildrop, so that each listing takes longer the more comes"),
		collect: health.NewWork("deleted mail is no longer removed from the disk"),
		free:    tables.CollectSlice,
	}
}

// addGarbage says that this number of bodies has become garbage, and that there may
// be something to compact or collect. It is safe for concurrent use.
func (u *upkeep) addGarbage(bodies int64) {
	u.backlog.Add(bodies)
	u.garbage.Store(true)
	u.engine.Tend()
}

// addArrivals counts arrivals that were committed; less than 0: that were compacted.
func (u *upkeep) addArrivals(n int64) {
	u.arrived = max(0, u.arrived+n)
	if u.shouldCompact(manyArrivals) {
		u.engine.Tend() // the next rest will do
	}
}

// shouldCompact reports whether more arrivals wait than may, and can be compacted.
func (u *upkeep) shouldCompact(may int64) bool { return u.arrived > may && !u.compact.Stopped() }

// Pressed implements commit.Upkeep.
func (u *upkeep) Pressed() bool {
	return u.shouldCompact(maxArrivals) ||
		!u.collect.Stopped() && u.garbage.Load() && (u.backlog.Load() > maxBacklog || u.space.Check() != nil)
}

// Look implements commit.Upkeep. It counts as far as a few slices go.
func (u *upkeep) Look(c *db.Conn) {
	u.garbage.Store(true)
	garbage, err := c.Number("SELECT count(*) FROM (SELECT 1 FROM garbage LIMIT ?)", int64(8*maxBacklog))
	if missing := garbage - u.backlog.Load(); err == nil && missing > 0 {
		u.backlog.Add(missing)
	}
	if arrived, err := c.Number("SELECT count(*) FROM (SELECT 1 FROM arrival LIMIT ?)", int64(8*maxArrivals)); err == nil {
		u.arrived = arrived
	}
}

// Slice implements commit.Upkeep: where too many arrivals wait, or any at a rest, it
// compacts those; otherwise it frees. A damaged page stops the one that met it, and not
// the other.
func (u *upkeep) Slice(c *db.Conn, resting bool, rows int64) (done func(), more bool, err error) {
	if u.shouldCompact(maxArrivals) || resting && !u.compact.Stopped() {
		done, moved, err := u.compactSlice(c, rows)
		if err != nil || moved > 0 {
			return done, true, u.compact.Met(err)
		}
	}
	if u.collect.Stopped() {
		return nil, false, nil
	}
	waiting, bodies := u.backlog.Load(), int64(sliceBodies)
	if !resting {
		bodies = max(bodies, u.space.Pages(min(waiting/32, maxSliceBodies)))
	}
	var p tables.Progress
	u.garbage.Store(false) // before, so that what becomes garbage meanwhile counts
	err = db.Guarded(func() (err error) { p, err = u.free(c, bodies); return err })
	if err != nil {
		return nil, false, u.collect.Met(err)
	}
	if p.More {
		u.garbage.Store(true)
	} else {
		p.Freed = waiting // or were shared, and needed after all
	}
	return func() {
		u.arrived = max(0, u.arrived-p.Moved)
		if left := u.backlog.Add(-p.Freed); left < 0 {
			u.backlog.Add(-left)
		}
	}, p.More, nil
}

// compactSlice compacts as many arrivals as the batch adds and some more, going round
// the maildrops.
func (u *upkeep) compactSlice(c *db.Conn, rows int64) (done func(), moved int64, err error) {
	most := u.space.Pages(sliceCompact) + rows
	next := int64(0)
	err = db.Guarded(func() (err error) {
		moved, next, err = tables.Compact(c, u.compacted, most)
		if err == nil && moved < most && u.compacted > 0 {
			var more int64
			more, next, err = tables.Compact(c, 0, most-moved)
			moved += more
		}
		return err
	})
	if err == nil && moved == 0 {
		u.arrived = 0 // another process has compacted them
	}
	return func() { u.arrived, u.compacted = max(0, u.arrived-moved), next }, moved, err
}
