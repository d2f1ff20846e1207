package tables

import (
	"database/sql/driver"
	"time"

	"mailsrv/quota"
	"mailsrv/storage"
	"mailsrv/storage/sqlite/db"
)

// Bounds are those of one slice of collection. A slice that has reached one ends.
type Bounds struct {
	Bodies int64     // that it frees
	Chunks int64     // of long bodies, that it frees
	Until  time.Time // looked at from time to time; zero: no bound
	// BodiesFirst leaves it to later slices to make more garbage.
	BodiesFirst bool
}

// over reports whether there is no time left.
func (b Bounds) over() bool { return !b.Until.IsZero() && !time.Now().Before(b.Until) }

// Progress is what one slice of collection did, which counts once it is committed.
type Progress struct {
	Freed   quota.Usage // bodies and octets that wait no more
	Garbage quota.Usage // that wait since
	Chunks  int64       // of transfers broken off, that are free
	Moved   int64       // arrivals compacted
	More    bool        // there may be more to do
}

// sliceEntries is how many entries, or messages kept aside, one slice makes garbage of.
const sliceEntries = 256

// sliceChunks is how many chunks are freed between two looks at the time.
const sliceChunks = 4

// CollectSlice frees garbage inside an open transaction. Transfers broken off go first,
// since who sends a long message may wait for that. Then go the entries of orphaned
// folders and what is gone of what was aside, whose bodies become garbage, unless the
// bounds say otherwise.
func CollectSlice(c *db.Conn, b Bounds) (Progress, error) {
	chunks, whole, err := freeTransfers(c, b)
	if err != nil || !whole {
		return Progress{Chunks: chunks, More: true}, err
	}
	b.Chunks -= chunks
	p, err := collectRest(c, b)
	p.Chunks = chunks
	return p, err
}

// BreakOffAll breaks off all transfers, and returns how many chunks those have that are
// broken off, as far as those can be counted. It begins no transaction: each statement is
// one.
func BreakOffAll(c *db.Conn) (chunks int64, err error) {
	if some, err := c.Number("SELECT EXISTS (SELECT 1 FROM transfer WHERE over = 0)"); err != nil || some > 0 {
		if err == nil {
			_, _, err = c.Exec("UPDATE transfer SET over = 1 WHERE over = 0")
		}
		if err != nil {
			return 0, err
		}
	}
	chunks, err = c.Number("SELECT coalesce(sum((SELECT count(*) FROM chunk WHERE id BETWEEN body << 16 AND (body << 16 | 65535))), 0) FROM transfer WHERE over = 1")
	if db.IsDamage(err) { // which is told of when they are to be freed
		return 0, nil
	}
	return chunks, err
}

// freeTransfers removes transfers broken off; whole: none is left, and there is room for
// more in the slice.
func freeTransfers(c *db.Conn, b Bounds) (chunks int64, whole bool, err error) {
	for chunks < b.Chunks {
		id, err := c.Number("SELECT body FROM transfer WHERE over = 1 LIMIT 1")
		if err != nil || id == 0 {
			return chunks, err == nil, err
		}
		gone, whole, err := freeChunks(c, id, b.Chunks-chunks, b)
		chunks += gone
		if err != nil || !whole {
			return chunks, false, err
		}
		if _, _, err := c.Exec("DELETE FROM body WHERE id = ?", id); err != nil {
			return chunks, false, err
		}
		if _, _, err := c.Exec("DELETE FROM transfer WHERE body = ?", id); err != nil {
			return chunks, false, err
		}
	}
	return chunks, false, nil
}

// collectRest is CollectSlice without transfers.
func collectRest(c *db.Conn, b Bounds) (p Progress, err error) {
	if b.BodiesFirst {
		if p, err = freeBodies(c, b); err != nil || p.More {
			return p, err
		}
	}
	if one, err := makeGarbage(c); err != nil || one.More {
		one.Freed = p.Freed
		return one, err
	}
	if b.BodiesFirst {
		return p, nil
	}
	return freeBodies(c, b)
}

// makeGarbage makes garbage of some entries of an orphan, or of what was aside and is
// gone. More: there was some.
func makeGarbage(c *db.Conn) (p Progress, err error) {
	orphan, err := c.First("SELECT mailbox, folder FROM orphan LIMIT 1")
	if err != nil {
		return p, err
	}
	if orphan != nil {
		return emptyOrphan(c, Place{Mailbox: orphan[0].(int64), Folder: orphan[1].(int64)})
	}
	p.Garbage, err = forgetGone(c, sliceEntries)
	p.More = p.Garbage.Messages > 0
	return p, err
}

// emptyOrphan removes some entries of a removed mailbox's folder, and the orphan itself
// with the last.
func emptyOrphan(c *db.Conn, orphan Place) (p Progress, err error) {
	p.More = true
	if p.Moved, err = CompactFolder(c, orphan.Folder); err != nil {
		return p, err
	}
	to, err := c.First("SELECT max(uid) FROM (SELECT uid FROM entry WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?)",
		EntryID(orphan.Folder, 0), EntryID(orphan.Folder, int64(storage.MaxUID)), int64(sliceEntries))
	if err != nil {
		return p, err
	}
	if to[0] != nil {
		gone, err := Expunge(c, orphan, [][2]int64{{0, to[0].(int64)}}, Aside{})
		p.Garbage = gone.Usage
		return p, err
	}
	_, _, err = c.Exec("DELETE FROM orphan WHERE folder = ?", orphan.Folder)
	return p, err
}

// freeBodies removes garbage bodies; of a long one, some chunks.
func freeBodies(c *db.Conn, b Bounds) (p Progress, err error) {
	type waiting struct{ id, octets int64 }
	var some []waiting
	err = c.Each("SELECT body, octets FROM garbage ORDER BY body LIMIT ?", func(row []driver.Value) error {
		some = append(some, waiting{row[0].(int64), row[1].(int64)})
		return nil
	}, b.Bodies)
	if err != nil {
		return p, err
	}
	left := b.Chunks
	for _, one := range some {
		if b.over() {
			p.More = true
			return p, nil
		}
		gone, whole, err := freeChunks(c, one.id, left, b)
		if err != nil {
			return p, err
		}
		if left -= gone; !whole {
			p.More = true
			return p, nil
		}
		if _, _, err := c.Exec("DELETE FROM body WHERE id = ?", one.id); err != nil {
			return p, err
		}
		if _, _, err := c.Exec("DELETE FROM garbage WHERE body = ?", one.id); err != nil {
			return p, err
		}
		p.Freed = p.Freed.Add(quota.Usage{Octets: one.octets, Messages: 1})
	}
	p.More = int64(len(some)) == b.Bodies
	return p, nil
}

// freeChunks removes chunks of a body, at most the given number. whole: none is left.
func freeChunks(c *db.Conn, body, most int64, b Bounds) (gone int64, whole bool, err error) {
	for gone < most {
		n := min(sliceChunks, most-gone)
		now, _, err := c.Exec("DELETE FROM chunk WHERE id IN (SELECT id FROM chunk WHERE id BETWEEN ? AND ? LIMIT ?)",
			body<<ChunkShift, body<<ChunkShift|(1<<ChunkShift-1), n)
		gone += now
		if err != nil || now < n {
			return gone, err == nil, err
		}
		if b.over() {
			break
		}
	}
	return gone, false, nil
}

// discardBodies makes garbage of the bodies of rows that are about to go, as far as nobody
// else needs them.
func discardBodies(c *db.Conn, someShared bool, where string, args ...driver.Value) error {
	if someShared {
		type part struct{ body, octets int64 }
		var shared []part
		err := c.Each("SELECT body, octets"+where+" AND shared = 1", func(row []driver.Value) error {
			shared = append(shared, part{row[0].(int64), row[1].(int64)})
			return nil
		}, args...)
		if err != nil {
			return err
		}
		for _, s := range shared {
			if err := unshare(c, s.body, s.octets); err != nil {
				return err
			}
		}
	}
	_, _, err := c.Exec("INSERT OR IGNORE INTO garbage (body, octets) SELECT body, octets"+where+" AND shared = 0", args...)
	return err
}

// unshare counts one entry less on a shared body, and makes it garbage with the last,
// which had that number of octets.
func unshare(c *db.Conn, id, octets int64) error {
	if _, _, err := c.Exec("UPDATE share SET refs = refs - 1 WHERE body = ?", id); err != nil {
		return err
	}
	freed, _, err := c.Exec("DELETE FROM share WHERE body = ? AND refs <= 0", id)
	if err != nil || freed == 0 {
		return err
	}
	return Discard(c, id, octets)
}

// Discard makes garbage of a body that nobody needs, of nearly that number of octets.
func Discard(c *db.Conn, id, octets int64) error {
	_, _, err := c.Exec("INSERT OR IGNORE INTO garbage (body, octets) VALUES (?, ?)", id, octets)
	return err
}
