package memory

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
	"mailsrv/quota"
	"mailsrv/storage"
)

// now is the time of what is made, as it is stored: in seconds.
func now() time.Time { return time.Unix(time.Now().Unix(), 0) }

// taken reports whether a mailbox or an alias has the address.
func (s *Store) taken(a mail.Address) bool {
	_, alias := s.aliases[a]
	return alias || s.mailboxes[a] != nil
}

// free refuses an address that is not hosted, or taken.
func (s *Store) free(a mail.Address) error {
	switch _, alias := s.aliases[a]; {
	case s.domains[a.Domain] == nil:
		return fmt.Errorf("domain %s %w", a.Domain, directory.ErrNotFound)
	case s.mailboxes[a] != nil:
		return fmt.Errorf("mailbox %s %w", a, directory.ErrExists)
	case alias:
		return fmt.Errorf("alias %s %w", a, directory.ErrExists)
	}
	return nil
}

// set gives a domain the postmaster and the policy that it is to have.
func (s *Store) set(d *domain, to directory.Domain) error {
	m := s.mailboxes[to.Postmaster]
	if m == nil && !to.Postmaster.IsZero() {
		return fmt.Errorf("mailbox %s %w", to.Postmaster, directory.ErrNotFound)
	}
	d.Policy, d.postmaster = to.Policy, m
	return nil
}

// AddDomain implements directory.Directory.
func (s *Store) AddDomain(ctx context.Context, d directory.Domain) error {
	return s.use(ctx, Call{Method: "AddDomain"}, func() error {
		if s.domains[d.Name] != nil {
			return fmt.Errorf("domain %s %w", d.Name, directory.ErrExists)
		}
		added := &domain{Domain: directory.Domain{Name: d.Name, Created: now()}}
		if err := s.set(added, d); err != nil {
			return err
		}
		s.domains[d.Name] = added
		return nil
	})
}

// ChangeDomain implements directory.Directory.
func (s *Store) ChangeDomain(ctx context.Context, name string, change func(*directory.Domain)) error {
	return s.use(ctx, Call{Method: "ChangeDomain"}, func() error {
		d := s.domains[name]
		if d == nil {
			return fmt.Errorf("domain %s %w", name, directory.ErrNotFound)
		}
		changed := d.view()
		change(&changed)
		err := s.set(d, changed)
		for _, m := range s.byID {
			if err == nil && m.Address.Domain == name {
				s.boundAside(m)
			}
		}
		return err
	})
}

// targetsIn counts the targets of aliases that are as asked.
func (s *Store) targetsIn(asked func(mail.Address) bool) (n int) {
	for _, targets := range s.aliases {
		for _, target := range targets {
			if asked(target) {
				n++
			}
		}
	}
	return n
}

// RemoveDomain implements directory.Directory.
func (s *Store) RemoveDomain(ctx context.Context, name string) error {
	return s.use(ctx, Call{Method: "RemoveDomain"}, func() error {
		if s.domains[name] == nil {
			return fmt.Errorf("domain %s %w", name, directory.ErrNotFound)
		}
		mailboxes, aliases := len(addresses(s.mailboxes, name)), len(addresses(s.aliases, name))
		targets := s.targetsIn(func(a mail.Address) bool { return a.Domain == name })
		if mailboxes+aliases+targets > 0 {
			return fmt.Errorf("domain %s is %w: %d mailboxes, %d aliases, %d alias targets",
				name, directory.ErrInUse, mailboxes, aliases, targets)
		}
		delete(s.domains, name)
		return nil
	})
}

// AddMailbox implements directory.Directory.
func (s *Store) AddMailbox(ctx context.Context, m directory.Mailbox) (id mail.MailboxID, err error) {
	err = s.use(ctx, Call{Method: "AddMailbox"}, func() error {
		if err := s.free(m.Address); err != nil {
			return err
		}
		s.lastMailbox++
		id = s.lastMailbox
		added := &mailbox{folders: map[storage.FolderID]*folder{}, Mailbox: directory.Mailbox{
			ID: id, Address: m.Address, Switches: m.Switches, Hash: m.Hash, Policy: m.Policy, Created: now(),
		}}
		added.inbox = s.newFolder(added)
		s.mailboxes[m.Address], s.byID[id] = added, added
		return nil
	})
	return id, err
}

// ChangeMailbox implements directory.Directory.
func (s *Store) ChangeMailbox(ctx context.Context, a mail.Address, change func(*directory.Mailbox)) error {
	return s.use(ctx, Call{Method: "ChangeMailbox"}, func() error {
		m := s.mailboxes[a]
		if m == nil {
			return fmt.Errorf("mailbox %s %w", a, directory.ErrNotFound)
		}
		changed := s.view(m)
		change(&changed)
		m.Switches, m.Hash, m.Policy = changed.Switches, changed.Hash, changed.Policy
		s.boundAside(m)
		return nil
	})
}

// SetHash implements directory.Directory.
func (s *Store) SetHash(ctx context.Context, id mail.MailboxID, old, hash string) error {
	return s.use(ctx, Call{Method: "SetHash", Mailbox: id}, func() error {
		if m := s.byID[id]; m != nil && m.Hash == old {
			m.Hash = hash
		}
		return nil
	})
}

// RemoveMailbox implements directory.Directory.
func (s *Store) RemoveMailbox(ctx context.Context, a mail.Address) (removed quota.Usage, err error) {
	err = s.use(ctx, Call{Method: "RemoveMailbox"}, func() error {
		m := s.mailboxes[a]
		if m == nil {
			return fmt.Errorf("mailbox %s %w", a, directory.ErrNotFound)
		}
		var serves []string
		for name, d := range s.domains {
			if d.postmaster == m {
				serves = append(serves, name)
			}
		}
		if len(serves) > 0 {
			slices.Sort(serves)
			return fmt.Errorf("mailbox %s is %w as postmaster of %s", a, directory.ErrInUse, strings.Join(serves, ", "))
		}
		if n := s.targetsIn(func(target mail.Address) bool { return target == a }); n > 0 {
			return fmt.Errorf("mailbox %s is %w as target of %d aliases", a, directory.ErrInUse, n)
		}
		removed = m.Usage
		for _, f := range m.folders { // for the sessions that still have it open
			s.expunge(m, f, now(), 0, func(*entry) bool { return true })
		}
		delete(s.mailboxes, a)
		delete(s.byID, m.ID)
		return nil
	})
	return removed, err
}

// AddAlias implements directory.Directory.
func (s *Store) AddAlias(ctx context.Context, a directory.Alias) error {
	return s.use(ctx, Call{Method: "AddAlias"}, func() error {
		for _, target := range a.Targets {
			if !s.taken(target) {
				return fmt.Errorf("target %s %w", target, directory.ErrNotFound)
			}
		}
		targets, known := s.aliases[a.Address]
		if !known {
			if err := s.free(a.Address); err != nil {
				return err
			}
		}
		targets = append(slices.Clone(targets), a.Targets...)
		slices.SortFunc(targets, compare)
		s.aliases[a.Address] = slices.Compact(targets)
		return nil
	})
}

// RemoveAlias implements directory.Directory.
func (s *Store) RemoveAlias(ctx context.Context, a directory.Alias) error {
	return s.use(ctx, Call{Method: "RemoveAlias"}, func() error {
		targets, known := s.aliases[a.Address]
		if !known {
			return fmt.Errorf("alias %s %w", a.Address, directory.ErrNotFound)
		}
		for _, target := range a.Targets {
			if !slices.Contains(targets, target) {
				return fmt.Errorf("target %s of alias %s %w", target, a.Address, directory.ErrNotFound)
			}
		}
		left := slices.DeleteFunc(slices.Clone(targets), func(target mail.Address) bool { return slices.Contains(a.Targets, target) })
		if len(a.Targets) > 0 && len(left) > 0 {
			s.aliases[a.Address] = left
			return nil
		}
		if n := s.targetsIn(func(target mail.Address) bool { return target == a.Address }); n > 0 {
			return fmt.Errorf("alias %s is %w as target of %d other aliases", a.Address, directory.ErrInUse, n)
		}
		delete(s.aliases, a.Address)
		return nil
	})
}
