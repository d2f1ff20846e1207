package tables

import (
	"database/sql/driver"
	"time"

	"mailsrv/quota"
	"mailsrv/storage"
	"mailsrv/storage/sqlite/db"
)

// Bounds are the bounds of one slice of collection. The slice ends when it reaches one.
type Bounds struct {
	Bodies int64     // bodies to free
	Chunks int64     // chunks of long bodies to free
	Until  time.Time // checked from time to time; zero: no bound
	// BodiesFirst frees bodies before it makes more garbage of entries.
	BodiesFirst bool
}

// over reports whether the time is up.
func (b Bounds) over() bool { return !b.Until.IsZero() && !time.Now().Before(b.Until) }

// Progress is what one slice of collection did. It is true only after the commit.
type Progress struct {
	Freed   quota.Usage // bodies, as messages, and octets of garbage that was freed
	Garbage quota.Usage // bodies, as messages, and octets that became garbage
	Chunks  int64       // chunks of broken off transfers that were freed
	Moved   int64       // arrivals that were compacted
	More    bool        // there may be more to do
}

// sliceEntries is the number of entries, or of messages kept aside, whose bodies one slice
// makes garbage.
const sliceEntries = 256

// sliceChunks is the number of chunks that are freed between two checks of the time.
const sliceChunks = 4

// CollectSlice frees garbage inside an open transaction, within the bounds. It frees broken
// off transfers first, since senders of long messages may wait for their space. Then it
// removes entries of orphaned folders, or messages aside that are gone, whose bodies become
// garbage. Only if there are none does it free bodies. With BodiesFirst it frees all bodies
// before it makes more garbage.
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

// BreakOffAll breaks off all transfers, and returns how many chunks all broken off transfers
// have. If damage prevents counting them it returns 0. It needs no transaction: each
// statement is one of its own.
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
	if db.IsDamage(err) { // it is reported when the chunks are to be freed
		return 0, nil
	}
	return chunks, err
}

// freeTransfers removes broken off transfers, and returns how many chunks it freed. whole
// reports that none is left and the slice has not reached its bounds.
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

// collectRest is CollectSlice without the transfers.
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

// makeGarbage makes garbage of some entries of an orphaned folder, or of some messages that
// were aside and are gone. p.More reports that there were some.
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

// emptyOrphan removes some entries of a removed mailbox's folder. If there are none left it
// removes the row of orphan.
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

// freeBodies removes garbage bodies. Of a long body it may remove only some chunks.
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

// freeChunks removes chunks of a body, at most most. gone is how many it removed; whole
// reports that none is left.
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

// discardBodies makes garbage of the bodies of rows that are about to be deleted, unless
// other rows need them. where selects the rows. someShared says that some of the bodies
// may be shared.
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

// unshare subtracts one reference from a shared body, which has octets octets. Without
// references it becomes garbage.
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

// Discard makes garbage of a body that nobody needs. octets is its approximate size.
func Discard(c *db.Conn, id, octets int64) error {
	_, _, err := c.Exec("INSERT OR IGNORE INTO garbage (body, octets) VALUES (?, ?)", id, octets)
	return err
}
