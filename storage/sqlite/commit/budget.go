package commit

import "mailsrv/storage/sqlite/db"

// LogPages returns how long the write-ahead log may become, in pages. On a full disk all
// new pages in it must find room in the database, or the log can never be emptied. Half
// of the reserve is for that.
func (s *Space) LogPages() int64 {
	if s.reserve <= 0 {
		return db.MaxLogPages
	}
	return min(db.MaxLogPages, max(1, s.reserve/2/db.PageSize))
}

// AutoCheckpoint returns the length of the log, in pages, at which SQLite itself runs a
// checkpoint at a COMMIT; 0: never. In a server the checkpointer does it, since a COMMIT
// does not report that its checkpoint failed.
func (s *Space) AutoCheckpoint() int64 {
	if s.server {
		return 0
	}
	return s.LogPages()
}

// batchOctets returns how many octets of content one batch may bring. What the batch adds
// to the write-ahead log, together with what is in the log already, must fit into the
// space of the reserve.
func (s *Space) batchOctets() int64 {
	if s.reserve == 0 {
		return maxBatchOctets
	}
	return min(maxBatchOctets, s.reserve/8)
}

// Pages returns how many rows, or other things that may each write a page, one batch may
// take: most, or less if the reserve is small. A batch must fit into the space of the
// reserve.
func (s *Space) Pages(most int64) int64 {
	if s.reserve == 0 {
		return most
	}
	return min(most, max(1, s.reserve/8/db.PageSize))
}
