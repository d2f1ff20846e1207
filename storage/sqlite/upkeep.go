package sqlite

import (
	"database/sql/driver"
	"sync/atomic"
	"time"

	"mailsrv/internal/buffers"
	"mailsrv/quota"
	"mailsrv/storage/sqlite/commit"
	"mailsrv/storage/sqlite/db"
	"mailsrv/storage/sqlite/tables"
)

// Bounds of arrivals. The more arrivals wait, the more of them share a page when they are
// compacted. But listing a maildrop, or deleting from it, looks through all that wait.
const (
	manyArrivals = 128             // above it they are compacted at the next rest, else at the next Look
	maxArrivals  = 2048            // above it they are compacted together with deliveries
	sliceCompact = maxArrivals / 4 // how many more than a batch adds are compacted with it
)

// Bounds of garbage. It is collected together with deliveries if there is much of it, or if
// it has waited for a rest in vain. A slice then grows with the garbage that waits: at
// maxSliceBodies and maxSliceChunks it frees more than any batch can bring.
const (
	maxBacklog     = 4096        // bodies; above it there is much
	maxWaste       = 16 << 20    // octets; above it there is much
	maxPatience    = time.Second // how long garbage waits for a rest
	sliceBodies    = 64
	perChunk       = 8 // bodies for each chunk that a slice may free
	maxSliceBodies = 2 * commit.MaxBatch
	maxSliceChunks = 2 * 16 << 20 / buffers.Max // a batch brings 16 MiB
)

// sliceTime is how long a slice may take while deliveries wait for it. With a batch that
// took longer, the slice may take as long as that, up to maxSliceTime: the batch may have
// brought as much as the slice frees in that time.
const (
	sliceTime    = 4 * time.Millisecond
	maxSliceTime = 20 * time.Millisecond
)

// upkeep compacts arrivals and collects garbage. Compaction comes first. Unless a method says
// otherwise, it is for the engine's goroutine alone.
type upkeep struct {
	space   *commit.Space
	staging *staging
	engine  *commit.Engine

	arrived   int64 // arrivals that wait to be compacted
	compacted int64 // the id up to which this round has compacted arrivals
	compact   *commit.Work

	backlog atomic.Int64 // bodies that may be garbage
	waste   atomic.Int64 // octets of these bodies
	garbage atomic.Bool  // there may be garbage
	since   atomic.Int64 // since when there may be garbage, in Unix nanoseconds; 0: there is none
	broken  atomic.Int64 // octets of broken off transfers: senders of long messages wait for them
	aside   atomic.Bool  // something may be kept aside, which is dropped first when space is short
	dropped func([]tables.Dropped)
	collect *commit.Work
	free    func(*db.Conn, tables.Bounds) (tables.Progress, error) // collects one slice
}

func newUpkeep(s *Store) *upkeep {
	return &upkeep{
		space:   s.space,
		staging: &s.staging,
		dropped: s.tellDropped,
		compact: s.health.NewWork("new mail is no longer put with the rest of its maildrop, so that each listing takes longer the more comes"),
		collect: s.health.NewWork("deleted mail, and what was broken off, is no longer removed from the disk"),
		free:    tables.CollectSlice,
	}
}

// addGarbage notes that the bodies of messages have become garbage, and that there may be
// something to compact or collect. It is safe for concurrent use.
func (u *upkeep) addGarbage(of quota.Usage) {
	u.backlog.Add(of.Messages)
	u.waste.Add(of.Octets)
	u.mayCollect()
	u.engine.Tend()
}

// addBroken notes that a transfer was broken off. octets is what it has staged.
func (u *upkeep) addBroken(octets int64) {
	if u.collect.Stopped() {
		u.staging.free(octets)
		return
	}
	u.broken.Add(octets)
	u.addGarbage(quota.Usage{})
}

// mayCollect notes that there may be garbage. It is safe for concurrent use.
func (u *upkeep) mayCollect() {
	u.garbage.Store(true)
	u.since.CompareAndSwap(0, time.Now().UnixNano())
}

// muchGarbage reports whether garbage must be collected together with deliveries.
func (u *upkeep) muchGarbage() bool {
	if u.collect.Stopped() || !u.garbage.Load() && !u.mustDrop() {
		return false
	}
	return u.mustDrop() || u.broken.Load() > 0 || u.backlog.Load() > maxBacklog || u.waste.Load() > maxWaste ||
		time.Since(time.Unix(0, u.since.Load())) > maxPatience || u.space.Check() != nil
}

// addArrivals adds n to the number of waiting arrivals. n is negative for compacted ones.
func (u *upkeep) addArrivals(n int64) {
	u.arrived = max(0, u.arrived+n)
	if u.shouldCompact(manyArrivals) {
		u.engine.Tend() // the next rest will do
	}
}

// shouldCompact reports whether more than may arrivals wait, and damage has not stopped
// their compaction.
func (u *upkeep) shouldCompact(may int64) bool { return u.arrived > may && !u.compact.Stopped() }

// Pressed implements commit.Upkeep.
func (u *upkeep) Pressed() bool {
	return u.shouldCompact(maxArrivals) || u.muchGarbage()
}

// Look implements commit.Upkeep. It counts only as much as a few slices can do.
func (u *upkeep) Look(c *db.Conn) {
	u.mayCollect()
	aside, err := c.Number("SELECT messages FROM kept WHERE mailbox = 0")
	u.aside.Store(err == nil && aside > 0)
	db.Guarded(func() error { // ignore damage: the slice will meet it
		return c.Each("SELECT count(*), coalesce(sum(octets), 0) FROM (SELECT octets FROM garbage LIMIT ?)", func(row []driver.Value) error {
			raise(&u.backlog, row[0].(int64))
			raise(&u.waste, row[1].(int64))
			return nil
		}, int64(8*maxBacklog))
	})
	if arrived, err := c.Number("SELECT count(*) FROM (SELECT 1 FROM arrival LIMIT ?)", int64(8*maxArrivals)); err == nil {
		u.arrived = arrived
	}
}

// Slice implements commit.Upkeep. It compacts arrivals if too many wait, or at a rest if any
// do. Otherwise it frees garbage. A damaged page stops only the one of the two that met it.
func (u *upkeep) Slice(c *db.Conn, resting bool, beside commit.Batch) (done func(), more bool, err error) {
	if u.shouldCompact(maxArrivals) || resting && !u.compact.Stopped() {
		done, moved, err := u.compactSlice(c, beside.Rows)
		if err != nil || moved > 0 {
			return done, true, u.compact.Met(err)
		}
	}
	if u.collect.Stopped() {
		return nil, false, nil
	}
	waiting := quota.Usage{Messages: u.backlog.Load(), Octets: u.waste.Load()}
	var p tables.Progress
	u.garbage.Store(false) // before the slice, so that a mayCollect during it counts
	since := u.since.Swap(0)
	err = db.Guarded(func() (err error) { p, err = u.free(c, u.bounds(waiting, resting, beside)); return err })
	if err != nil {
		return nil, false, u.met(err)
	}
	drop := func() {}
	if p.More {
		u.mayCollect()
		if since != 0 {
			u.since.Store(since)
		}
	} else {
		freed := p.Freed.Messages > 0 || p.Chunks > 0
		p.Freed = waiting // nothing waits any more: some were shared and are still needed
		if p.More = u.mustDrop(); p.More && freed {
			u.space.Recheck() // what was freed may have been enough
		} else if p.More {
			if err = db.Guarded(func() (err error) { drop, err = u.dropAside(c); return err }); err != nil {
				return nil, false, u.met(err)
			}
		}
	}
	return func() {
		drop()
		if octets := p.Chunks * buffers.Max; octets > 0 {
			lower(&u.broken, octets)
			u.staging.free(octets)
		}
		u.arrived = max(0, u.arrived-p.Moved)
		lower(&u.backlog, p.Freed.Messages-p.Garbage.Messages)
		lower(&u.waste, p.Freed.Octets-p.Garbage.Octets)
	}, p.More, nil
}

// met is as collect.Met. If that stops the work, broken off transfers will not be freed any
// more, and their octets must not keep others from staging.
func (u *upkeep) met(err error) error {
	u.collect.Met(err)
	if u.collect.Stopped() {
		u.staging.freeBroken()
	}
	return err
}

// bounds returns the bounds of the next slice of collection.
func (u *upkeep) bounds(waiting quota.Usage, resting bool, beside commit.Batch) tables.Bounds {
	b := tables.Bounds{Bodies: sliceBodies, Chunks: sliceBodies / perChunk, Until: time.Now().Add(max(sliceTime, min(beside.Took, maxSliceTime)))}
	b.BodiesFirst = waiting.Messages > maxBacklog || waiting.Octets > maxWaste
	if !resting {
		b.Bodies = max(b.Bodies, u.space.Pages(min(waiting.Messages/32, maxSliceBodies)))
		b.Chunks = max(b.Bodies/perChunk, u.space.Pages(min(waiting.Octets/32/buffers.Max, maxSliceChunks)))
	}
	return b
}

// mustDrop reports whether messages aside must be dropped to make room on the disk.
func (u *upkeep) mustDrop() bool { return u.aside.Load() && u.space.Short() }

// dropOctets is how many octets of what is aside are dropped at a time when space is short.
// The next check of the disk tells whether that was enough.
const dropOctets = 16 << 20

// dropAside drops the oldest messages that are aside.
func (u *upkeep) dropAside(c *db.Conn) (done func(), err error) {
	dropped, err := tables.DropOldest(c, func(sum quota.Usage) bool {
		return sum.Octets >= dropOctets || sum.Messages >= sliceBodies
	})
	return func() {
		u.aside.Store(len(dropped) > 0)
		u.dropped(dropped)
		u.mayCollect()
	}, err
}

// raise raises a counter to at least least.
func raise(counter *atomic.Int64, least int64) {
	if missing := least - counter.Load(); missing > 0 {
		counter.Add(missing)
	}
}

// lower subtracts by from a counter, but not below 0.
func lower(counter *atomic.Int64, by int64) {
	if left := counter.Add(-by); left < 0 {
		counter.Add(-left)
	}
}

// compactSlice compacts as many arrivals as the batch adds and some more, in a round through
// all folders.
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
