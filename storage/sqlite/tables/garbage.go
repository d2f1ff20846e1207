package tables

import (
	"database/sql/driver"
	"errors"

	"mailsrv/storage"
	"mailsrv/storage/sqlite/db"
)

// Progress is what one slice of collection did, which counts once it is committed.
type Progress struct {
	Freed int64 // bodies that wait no more; less than 0: that wait since
	Moved int64 // arrivals compacted
	More  bool  // there may be more to do
}

// Bounds of one slice.
const (
	perChunk     = 8 // bodies for each chunk that it may free
	sliceEntries = 256
)

// CollectSlice frees garbage inside an open transaction, at most the given number of
// bodies. The entries of orphaned folders go first, whose bodies become garbage.
func CollectSlice(c *db.Conn, bodies int64) (Progress, error) {
	orphan, err := c.First("SELECT mailbox, folder FROM orphan LIMIT 1")
	switch {
	case err != nil:
		return Progress{}, err
	case orphan != nil:
		return emptyOrphan(c, Place{Mailbox: orphan[0].(int64), Folder: orphan[1].(int64)})
	}
	return freeBodies(c, bodies)
}

// emptyOrphan removes some entries of a removed mailbox's folder, then what the mailbox
// had put aside, and the orphan itself with the last.
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
		removed, _, err := Expunge(c, orphan, [][2]int64{{0, to[0].(int64)}}, Aside{})
		p.Freed = -removed.Messages
		return p, err
	}
	aside, err := c.Number("SELECT max(id) FROM (SELECT id FROM removed WHERE mailbox = ? ORDER BY id LIMIT ?)", orphan.Mailbox, int64(sliceEntries))
	if err != nil {
		return p, err
	}
	if aside > 0 {
		p.Freed = -sliceEntries
		return p, Forget(c, " FROM removed WHERE id <= ? AND mailbox = ?", aside, orphan.Mailbox)
	}
	_, _, err = c.Exec("DELETE FROM orphan WHERE folder = ?", orphan.Folder)
	return p, err
}

// freeBodies removes at most this number of garbage bodies; of a long one, some chunks.
func freeBodies(c *db.Conn, bodies int64) (p Progress, err error) {
	var ids []int64
	err = c.Each("SELECT body FROM garbage LIMIT ?", func(row []driver.Value) error {
		ids = append(ids, row[0].(int64))
		return nil
	}, bodies)
	if err != nil {
		return p, err
	}
	chunks := bodies / perChunk
	for _, id := range ids {
		first, last := id<<ChunkShift, id<<ChunkShift|(1<<ChunkShift-1)
		gone, _, err := c.Exec("DELETE FROM chunk WHERE id IN (SELECT id FROM chunk WHERE id BETWEEN ? AND ? LIMIT ?)",
			first, last, chunks)
		if err != nil {
			return p, err
		}
		if chunks -= gone; chunks <= 0 {
			p.More = true
			return p, nil
		}
		if _, _, err := c.Exec("DELETE FROM body WHERE id = ?", id); err != nil {
			return p, err
		}
		if _, _, err := c.Exec("DELETE FROM garbage WHERE body = ?", id); err != nil {
			return p, err
		}
		p.Freed++
	}
	p.More = int64(len(ids)) == bodies
	return p, nil
}

// discardBodies makes garbage of the bodies of rows that are about to go, as far as nobody
// else needs them.
func discardBodies(c *db.Conn, someShared bool, where string, args ...driver.Value) error {
	if someShared {
		var shared []int64
		err := c.Each("SELECT body"+where+" AND shared = 1", func(row []driver.Value) error {
			shared = append(shared, row[0].(int64))
			return nil
		}, args...)
		if err != nil {
			return err
		}
		for _, id := range shared {
			if err := unshare(c, id); err != nil {
				return err
			}
		}
	}
	_, _, err := c.Exec("INSERT OR IGNORE INTO garbage (body) SELECT body"+where+" AND shared = 0", args...)
	return err
}

// unshare counts one entry less on a shared body, and makes it garbage with the last.
func unshare(c *db.Conn, id int64) error {
	if _, _, err := c.Exec("UPDATE share SET refs = refs - 1 WHERE body = ?", id); err != nil {
		return err
	}
	freed, _, err := c.Exec("DELETE FROM share WHERE body = ? AND refs <= 0", id)
	if err != nil || freed == 0 {
		return err
	}
	return Discard(c, id)
}

// Discard makes garbage of a body that nobody needs.
func Discard(c *db.Conn, id int64) error {
	_, _, err := c.Exec("INSERT OR IGNORE INTO garbage (body) VALUES (?)", id)
	return err
}

// Forget deletes rows of removed and makes garbage of their bodies.
func Forget(c *db.Conn, where string, args ...driver.Value) error {
	err := discardBodies(c, true, where, args...)
	_, _, deleted := c.Exec("DELETE"+where, args...)
	return errors.Join(err, deleted)
}
