package memory

import (
	"cmp"
	"context"
	"slices"
	"time"

	"mailsrv/internal/mail"
	"mailsrv/quota"
	"mailsrv/storage"
)

// Undelete implements storage.Undeleter.
func (s *Store) Undelete(ctx context.Context, id mail.MailboxID, since time.Time, limit quota.Limit, newID func() string) (restored, left quota.Usage, err error) {
	err = s.use(ctx, Call{Method: "Undelete", Mailbox: id}, func() error {
		m := s.byID[id]
		if m == nil {
			return storage.ErrNoMaildrop
		}
		full := false
		m.aside = slices.DeleteFunc(m.aside, func(a aside) bool {
			if a.at < since.Unix() {
				return false
			}
			one := quota.Usage{Octets: a.entry.Octets, Messages: 1}
			if !full {
				to := storage.Recipient{Mailbox: id}
				if m.folders[a.folder] != nil {
					to.Folder = a.folder
				}
				p, _, err := s.room(to, a.entry.Octets, limit, quota.Usage{})
				full = err != nil || p.folder == nil
				if !full {
					again := *a.entry // a session may have the old one open
					again.UIDL, again.retrieved = newID(), 0
					p.folder.add(m, p.uid, &again)
					restored = restored.Add(one)
					return true
				}
			}
			left = left.Add(one)
			return false
		})
		return nil
	})
	return restored, left, err
}

// kept is what a mailbox has aside.
func (m *mailbox) kept() (sum quota.Usage) {
	for _, a := range m.aside {
		sum = sum.Add(quota.Usage{Octets: a.entry.Octets, Messages: 1})
	}
	return sum
}

// Aside implements storage.Undeleter.
func (s *Store) Aside(ctx context.Context, of mail.MailboxID) (map[mail.MailboxID]quota.Usage, error) {
	all := map[mail.MailboxID]quota.Usage{}
	err := s.use(ctx, Call{Method: "Aside", Mailbox: of}, func() error {
		for id, m := range s.byID {
			if (of == 0 || of == id) && len(m.aside) > 0 {
				all[id] = m.kept()
			}
		}
		return nil
	})
	return all, err
}

// boundAside brings what a mailbox has aside within what it may have, and what all have.
func (s *Store) boundAside(m *mailbox) {
	may := s.effective(m)
	if may.Retention.Deleted <= 0 {
		m.aside = nil
	}
	limit := may.Limit.Or(s.options.Limit)
	for u := m.kept(); limit.Octets > 0 && u.Octets > limit.Octets || limit.Messages > 0 && u.Messages > limit.Messages; u = m.kept() {
		m.aside = m.aside[1:]
	}
	for s.options.MaxAside > 0 {
		all := int64(0)
		var oldest *mailbox
		for _, m := range s.byID {
			all += m.kept().Octets
			if len(m.aside) > 0 && (oldest == nil || m.aside[0].number < oldest.aside[0].number) {
				oldest = m
			}
		}
		if all <= s.options.MaxAside {
			return
		}
		oldest.aside = oldest.aside[1:]
	}
}

// Collect implements storage.Collector.
func (s *Store) Collect(ctx context.Context, now time.Time, report func(storage.Expired)) error {
	type expired struct {
		mailbox mail.MailboxID
		*entry
	}
	var gone []expired
	err := s.use(ctx, Call{Method: "Collect"}, func() error {
		for _, m := range sortedByID(s.byID) {
			m.aside = slices.DeleteFunc(m.aside, func(a aside) bool { return a.until <= now.Unix() })
			s.boundAside(m)
			keep := s.effective(m).Retention.Retrieved
			if keep <= 0 {
				continue
			}
			due := now.Add(-keep).Unix()
			before := len(gone)
			s.expunge(m, m.inbox, now, 0, func(e *entry) bool {
				if e.retrieved == 0 || e.retrieved > due {
					return false
				}
				gone = append(gone, expired{m.ID, e})
				return true
			})
			slices.SortStableFunc(gone[before:], func(a, b expired) int { return cmp.Compare(a.retrieved, b.retrieved) })
		}
		return nil
	})
	for _, e := range gone {
		report(storage.Expired{Mailbox: e.mailbox, Entry: e.Entry})
	}
	return err
}
