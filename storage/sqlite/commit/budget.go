package commit

import "mailsrv/storage/sqlite/db"

// LogPages is how long the write-ahead log may become. All that is new in it
// must find room in the database on a full disk, or it can never be emptied:
// half of the reserve is for that.
func (s *Space) LogPages() int64 {
	if s.reserve <= 0 {
		return db.MaxLogPages
	}
	return min(db.MaxLogPages, max(1, s.reserve/2/db.PageSize))
}

// AutoCheckpoint is the length at which SQLite itself brings the log in at a COMMIT;
// 0: never. A server's checkpointer does it, since a COMMIT says nothing of a failure.
func (s *Space) AutoCheckpoint() int64 {
	if s.server {
		return 0
	}
	return s.LogPages()
}

// batchOctets is how much content one batch may bring. What it adds to the
// write-ahead log must, beside what may be in there already, find room where the
// reserve stands.
func (s *Space) batchOctets() int64 {
	if s.reserve == 0 {
		return maxBatchOctets
	}
	return min(maxBatchOctets, s.reserve/8)
}

// Pages is how many of something a batch may take on, each of which may write
// a page, if it were most: a batch must find room where the reserve stands.
func (s *Space) Pages(most int64) int64 {
	if s.reserve == 0 {
		return most
	}
	return min(most, max(1, s.reserve/8/db.PageSize))
}
