package pop3d_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"mailsrv/internal/mail"
	"mailsrv/pop3d"
	"mailsrv/quota"
	"mailsrv/storage"
)

// counted is memory with a total, which remembers the most that was taken of it.
type counted struct {
	mu          sync.Mutex
	total       int64
	taken, most int64
}

func (c *counted) Take(_ context.Context, n int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.taken+n > c.total {
		return errors.New("no memory")
	}
	c.taken += n
	c.most = max(c.most, c.taken)
	return nil
}

func (c *counted) Give(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.taken -= n
}

// crowd is a maildrop with this number of messages that nobody keeps.
type crowd struct {
	storage.Maildrop
	messages int64
	vast     storage.UID // a message of 5 GiB, unless 0
	gone     storage.UID // a message that was removed since the login, unless 0
	fail     storage.UID // the first that cannot be read, unless 0
	removed  []storage.UID
}

func (v *crowd) Usage() quota.Usage {
	return quota.Usage{Messages: v.messages, Octets: v.messages}
}

func (v *crowd) Entries(_ context.Context, from storage.UID, most int) (all []storage.Entry, err error) {
	for uid := max(1, from); int64(uid) <= v.messages && len(all) < most; uid++ {
		switch uid {
		case v.fail:
			return nil, errors.New("the disk fails")
		case v.gone:
		default:
			e := storage.Entry{UID: uid, Octets: 1, UIDL: fmt.Sprint("uidl-", uid)}
			if uid == v.vast {
				e.Octets = 5 << 30
			}
			all = append(all, e)
		}
	}
	return all, nil
}

func (v *crowd) Update(_ context.Context, _ storage.Claim, c storage.Change) (quota.Usage, error) {
	v.removed = c.Expunge
	return quota.Usage{Messages: int64(len(c.Expunge)), Octets: int64(len(c.Expunge))}, nil
}

// crowdStore opens it for everybody.
type crowdStore struct {
	*store
	drop storage.Maildrop
}

func (s crowdStore) OpenMaildrop(context.Context, mail.MailboxID) (storage.Maildrop, error) {
	return s.drop, nil
}

// What a session holds of a maildrop is counted, in proportion to its messages, and given
// back; where there is no memory for it the client hears that this is temporary.
func TestSnapshotsAreCounted(t *testing.T) {
	const messages = 200_000
	memory := &counted{total: 100 * messages}
	drop := &crowd{messages: messages, gone: 7}
	s := start(t, func(c *pop3d.Config) { c.Memory, c.Store = memory, crowdStore{newStore(0), drop} })
	c := s.login(t, "alice@me.com")
	c.send("LIST\r\n")
	c.want("+OK 199999 messages (199999 octets)")
	c.skipText(messages - 1)
	if memory.taken > 8*messages {
		t.Errorf("%d octets are held of %d messages", memory.taken, messages)
	}
	c.send("UIDL 6\r\nUIDL 7\r\nUIDL\r\n")
	c.want("+OK 6 uidl-6")
	c.want("+OK 7 uidl-8")
	c.want("+OK 199999 messages (199999 octets)")
	c.skipText(messages - 1)
	c.send("DELE 1\r\nDELE 199999\r\nQUIT\r\n")
	c.want("+OK")
	c.want("+OK")
	c.want("+OK bye")
	if len(drop.removed) != 2 || drop.removed[1] != messages || memory.taken != 0 || memory.most > 9*messages {
		t.Errorf("removed %v, taken %d, at most %d", drop.removed, memory.taken, memory.most)
	}
	if lines := s.log.lines("expunged"); len(lines) != 1 || !strings.Contains(lines[0], "uidl-1 uidl-200000") {
		t.Errorf("logged %q", lines)
	}

	memory.total = messages
	c = s.login(t, "alice@me.com")
	c.send("STAT\r\nLIST\r\nUIDL 1\r\nQUIT\r\n")
	c.want("+OK 200000 200000")
	c.want("-ERR [SYS/TEMP]")
	c.want("-ERR [SYS/TEMP]")
	c.want("+OK bye")
	if memory.taken != 0 {
		t.Errorf("%d octets are not given back", memory.taken)
	}
}

// A list that cannot be read to its end has no final dot, and a message that went since
// the login has no UIDL.
func TestListBreaksOff(t *testing.T) {
	drop := &crowd{messages: 100_000}
	s := start(t, func(c *pop3d.Config) { c.Store = crowdStore{newStore(0), drop} })
	c := s.login(t, "alice@me.com")
	c.send("LIST 1\r\n")
	c.want("+OK 1 1")
	drop.gone = 5
	c.send("UIDL 5\r\n")
	c.want("-ERR")
	drop.fail = 90_000
	c.send("UIDL\r\n")
	c.want("+OK 100000 messages")
	for line := ""; ; {
		var err error
		if line, err = c.In.ReadString('\n'); err != nil {
			break
		}
		if line == ".\r\n" {
			t.Fatal("the list has an end")
		}
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if lines := s.log.lines("session end"); len(lines) > 0 {
			if !strings.Contains(lines[0], "reply broke off") {
				t.Errorf("logged %q", lines)
			}
			return
		}
		if time.Now().After(end) {
			t.Fatal("the session does not end")
		}
	}
}

// A message may be larger than 4 GiB.
func TestVastMessage(t *testing.T) {
	drop := &crowd{messages: 3, vast: 2}
	s := start(t, func(c *pop3d.Config) { c.Store = crowdStore{newStore(0), drop} })
	c := s.login(t, "alice@me.com")
	c.send("LIST 1\r\nLIST 2\r\nLIST 3\r\n")
	c.want("+OK 1 1")
	c.want("+OK 2 5368709120")
	c.want("+OK 3 1")
}

// A maildrop that was emptied since the login has nothing to list.
func TestEmptiedSinceTheLogin(t *testing.T) {
	s := start(t, func(c *pop3d.Config) { c.Store = crowdStore{newStore(0), &emptied{}} })
	c := s.login(t, "alice@me.com")
	c.send("UIDL\r\nLIST\r\nUIDL 1\r\nQUIT\r\n")
	for range 2 {
		c.want("+OK 0 messages")
		c.want(".")
	}
	c.want("-ERR")
	c.want("+OK bye")
}

// emptied held many messages at the login.
type emptied struct{ storage.Maildrop }

func (*emptied) Usage() quota.Usage {
	return quota.Usage{Messages: 100_000, Octets: 100_000}
}

func (*emptied) Entries(context.Context, storage.UID, int) ([]storage.Entry, error) { return nil, nil }
