package pop3d

import (
	"context"
	"math"
	"unsafe"

	"mailsrv/quota"
	"mailsrv/storage"
)

// Memory counts the memory of the sessions' snapshots against a total; package buffers
// implements it. All methods are safe for concurrent use.
type Memory interface {
	// Take takes n octets, and waits until they are free. Its errors are temporary.
	Take(ctx context.Context, n int64) error
	// Give gives n octets back.
	Give(n int64)
}

// keepUIDLs is the largest number of messages whose UIDLs a session keeps. Those of a
// larger maildrop would take more memory than all else, so they are read again whenever
// they are asked for.
const keepUIDLs = 50_000

// perRead is the number of messages read at a time.
const perRead = 20_000

// uidlOctets is the memory that a kept UIDL takes, at the length that this server gives.
const uidlOctets = int64(unsafe.Sizeof("")) + 32

// messageOctets is the memory of each message in a snapshot, without its UIDL.
const messageOctets = int64(unsafe.Sizeof(storage.UID(0)) + unsafe.Sizeof(uint32(0)))

// snapshot is what a session keeps of the messages of its maildrop, in their order.
type snapshot struct {
	uids  []storage.UID
	short []uint32      // octets; math.MaxUint32: see long
	long  map[int]int64 // octets of messages of 4 GiB and more
	uidls []string      // nil: not kept, the maildrop is large
	taken int64         // octets taken from Memory
}

// len returns the number of messages.
func (s *snapshot) len() int { return len(s.uids) }

// octets returns the size of a message in octets.
func (s *snapshot) octets(i int) int64 {
	if short := s.short[i]; short < math.MaxUint32 {
		return int64(short)
	}
	return s.long[i]
}

// entry returns a message's entry, without its UIDL where that is not kept.
func (s *snapshot) entry(i int) storage.Entry {
	e := storage.Entry{UID: s.uids[i], Octets: s.octets(i)}
	if s.uidls != nil {
		e.UIDL = s.uidls[i]
	}
	return e
}

// read fills the snapshot. messages is the number of messages at the login; some may be
// gone since. It returns the usage of those that it found.
func (s *snapshot) read(ctx context.Context, m storage.Maildrop, messages int64, memory Memory) (held quota.Usage, err error) {
	each := messageOctets
	if messages <= keepUIDLs {
		each += uidlOctets
	}
	if err := memory.Take(ctx, messages*each); err != nil {
		return held, err
	}
	s.taken = messages * each
	s.uids, s.short = make([]storage.UID, 0, messages), make([]uint32, 0, messages)
	if messages <= keepUIDLs {
		s.uidls = make([]string, 0, messages)
	}
	err = eachEntry(ctx, m, 0, func(e storage.Entry) bool {
		if e.Octets >= math.MaxUint32 {
			if s.long == nil {
				s.long = map[int]int64{}
			}
			s.long[len(s.uids)] = e.Octets
		}
		s.uids, s.short = append(s.uids, e.UID), append(s.short, uint32(min(e.Octets, math.MaxUint32)))
		if messages <= keepUIDLs {
			s.uidls = append(s.uidls, e.UIDL)
		}
		held = held.Add(quota.Usage{Octets: e.Octets, Messages: 1})
		return true
	})
	return held, err
}

// eachEntry calls f with each message from a uid on until f returns false. It reads perRead
// messages at a time.
func eachEntry(ctx context.Context, m storage.Maildrop, from storage.UID, f func(storage.Entry) bool) error {
	for {
		piece, err := m.Entries(ctx, from, perRead)
		if err != nil {
			return err
		}
		for _, e := range piece {
			if !f(e) {
				return nil
			}
		}
		if len(piece) < perRead || piece[len(piece)-1].UID == storage.MaxUID {
			return nil
		}
		from = piece[len(piece)-1].UID + 1
	}
}

// uidl returns a message's UIDL. storage.ErrGone: it is not kept, and the message is gone.
func (s *snapshot) uidl(ctx context.Context, m storage.Maildrop, i int) (string, error) {
	if s.uidls != nil {
		return s.uidls[i], nil
	}
	found, err := m.Entries(ctx, s.uids[i], 1)
	if err != nil {
		return "", err
	}
	if len(found) == 0 || found[0].UID != s.uids[i] {
		return "", storage.ErrGone
	}
	return found[0].UIDL, nil
}

// eachUIDL calls f with the UIDLs of the messages for which want returns true, in their
// order. Where UIDLs are not kept, messages that are gone are left out.
func (s *snapshot) eachUIDL(ctx context.Context, m storage.Maildrop, want func(i int) bool, f func(i int, uidl string)) error {
	if s.uidls != nil {
		for i, uidl := range s.uidls {
			if want(i) {
				f(i, uidl)
			}
		}
		return nil
	}
	if len(s.uids) == 0 { // all are gone since the login
		return nil
	}
	i := 0
	return eachEntry(ctx, m, s.uids[0], func(e storage.Entry) bool {
		for i < len(s.uids) && s.uids[i] < e.UID {
			i++
		}
		if i < len(s.uids) && s.uids[i] == e.UID && want(i) {
			f(i, e.UIDL)
		}
		return i < len(s.uids)
	})
}

// free gives the snapshot's memory back.
func (s *snapshot) free(memory Memory) {
	if s.taken > 0 {
		memory.Give(s.taken)
	}
	*s = snapshot{}
}

// unbounded is the Memory of a server without a bound.
type unbounded struct{}

func (unbounded) Take(context.Context, int64) error { return nil }
func (unbounded) Give(int64)                        {}
