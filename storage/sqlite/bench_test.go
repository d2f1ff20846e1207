package sqlite

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
	"mailsrv/quota"
	"mailsrv/storage"
)

// benchStore has this number of mailboxes of me.com.
func benchStore(b *testing.B, mailboxes int) (*Store, []mail.MailboxID) {
	s, err := Open(background, b.TempDir(), Options{Server: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	if err := s.AddDomain(background, directory.Domain{Name: "me.com"}); err != nil {
		b.Fatal(err)
	}
	ids := make([]mail.MailboxID, mailboxes)
	var group sync.WaitGroup
	for w := range 50 {
		group.Go(func() {
			for i := w; i < mailboxes; i += 50 {
				id, err := s.AddMailbox(background, directory.Mailbox{Address: mail.Address{Local: fmt.Sprintf("u%d", i), Domain: "me.com"}, Switches: directory.AllOn})
				if err != nil {
					b.Error(err)
				}
				ids[i] = id
			}
		})
	}
	group.Wait()
	return s, ids
}

func (s *Store) benchDeliver(id string, content []byte, to ...mail.MailboxID) error {
	body, err := s.NewBody(background, int64(len(content)))
	if err != nil {
		return err
	}
	defer body.Discard()
	if _, err := body.Write(content); err != nil {
		return err
	}
	d := &storage.Delivery{ID: id, ReturnPath: "Return-Path: <alice@example.org>\r\n", Body: body, Limit: quota.Limit{Octets: 1 << 30}}
	for _, id := range to {
		d.To = append(d.To, storage.Recipient{Mailbox: id, Own: "Delivered-To: u1234@me.com\r\n"})
	}
	_, err = s.Deliver(background, d)
	return err
}

// BenchmarkDeliver commits messages from concurrent senders into 1,000 maildrops.
func BenchmarkDeliver(b *testing.B) {
	for _, c := range []struct{ size, senders, recipients int }{
		{4 << 10, 1, 1}, {4 << 10, 16, 1}, {4 << 10, 64, 1}, {4 << 10, 16, 10}, {16 << 10, 64, 1}, {75 << 10, 16, 1}, {500 << 10, 16, 1},
	} {
		b.Run(fmt.Sprintf("size=%dKiB/senders=%d/recipients=%d", c.size>>10, c.senders, c.recipients), func(b *testing.B) {
			s, ids := benchStore(b, 1000)
			content := make([]byte, c.size)
			var next atomic.Int64
			var group sync.WaitGroup
			b.ResetTimer()
			for range c.senders {
				group.Go(func() {
					for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
						var to []mail.MailboxID
						for r := range c.recipients {
							to = append(to, ids[(int(n)*7919+r*101)%len(ids)])
						}
						if err := s.benchDeliver(mail.NewID(), content, to...); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			group.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
		})
	}
}

// BenchmarkRead opens, lists and reads maildrops of 6 messages.
func BenchmarkRead(b *testing.B) {
	s, ids := benchStore(b, 100)
	content := make([]byte, 4<<10)
	for _, id := range ids {
		for range 6 {
			if err := s.benchDeliver(mail.NewID(), content, id); err != nil {
				b.Fatal(err)
			}
		}
	}
	for n := 0; b.Loop(); n++ {
		d, err := s.OpenMaildrop(background, ids[n%len(ids)])
		if err != nil {
			b.Fatal(err)
		}
		entries, err := storage.AllEntries(background, d)
		if err != nil {
			b.Fatal(err)
		}
		for _, e := range entries {
			m, err := d.Message(background, e, 0)
			if err != nil {
				b.Fatal(err)
			}
			for err != io.EOF {
				if _, err = m.Next(background); err != nil && err != io.EOF {
					b.Fatal(err)
				}
			}
			m.Close()
		}
	}
}

// BenchmarkList lists a maildrop of 20,000.
func BenchmarkList(b *testing.B) {
	s, ids := benchStore(b, 1)
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			for range 400 {
				s.benchDeliver(mail.NewID(), []byte("x"), ids[0])
			}
		})
	}
	group.Wait()
	if err := s.compactAll(background); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		d, _ := s.OpenMaildrop(background, ids[0])
		if entries, err := storage.AllEntries(background, d); err != nil || len(entries) != 20000 {
			b.Fatal(len(entries), err)
		}
	}
}

// BenchmarkLookup asks for one of 1,000 mailboxes.
func BenchmarkLookup(b *testing.B) {
	s, ids := benchStore(b, 1000)
	for n := 0; b.Loop(); n++ {
		m, err := s.Lookup(background, mail.Address{Local: fmt.Sprintf("u%d", n%len(ids)), Domain: "me.com"})
		if err != nil || m.Mailbox == nil {
			b.Fatal(m, err)
		}
	}
}
