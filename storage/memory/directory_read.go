package memory

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
)

// domain is a directory.Domain as it is kept: Postmaster and Effective are not set.
type domain struct {
	directory.Domain
	postmaster *mailbox // nil: the oldest mailbox
}

// view returns the domain with Postmaster and Effective set.
func (d *domain) view() directory.Domain {
	v := d.Domain
	v.Effective = v.Policy
	if d.postmaster != nil {
		v.Postmaster = d.postmaster.Address
	}
	return v
}

// view returns the mailbox with Effective set.
func (s *Store) view(m *mailbox) directory.Mailbox {
	v := m.Mailbox
	v.Effective = s.effective(m)
	return v
}

// effective returns a mailbox's policy with its domain's filled in, or the zero Policy
// if the mailbox was removed.
func (s *Store) effective(m *mailbox) directory.Policy {
	if s.byID[m.ID] != m {
		return directory.Policy{}
	}
	return m.Policy.Or(s.domains[m.Address.Domain].Policy)
}

// receives reports whether the mailbox accepts mail.
func (m *mailbox) receives() bool { return m.Switches.Has(directory.Receives) }

// Lookup implements directory.Reader.
func (s *Store) Lookup(ctx context.Context, a mail.Address) (match directory.Match, err error) {
	err = s.use(ctx, Call{Method: "Lookup", Address: a}, func() error {
		_, match.Hosted = s.domains[a.Domain]
		if m := s.mailboxes[a]; m != nil {
			v := s.view(m)
			match.Mailbox = &v
		} else if targets := s.aliases[a]; len(targets) > 0 {
			match.Alias = &directory.Alias{Address: a, Targets: slices.Clone(targets)}
		}
		return nil
	})
	return match, err
}

// Postmaster implements directory.Reader.
func (s *Store) Postmaster(ctx context.Context, name string) (found directory.Mailbox, err error) {
	err = s.use(ctx, Call{Method: "Postmaster"}, func() error {
		d := s.domains[name]
		if d != nil && d.postmaster != nil {
			found = s.view(d.postmaster)
			return nil
		}
		for _, m := range sortedByID(s.byID) {
			if m.Address.Domain == name {
				found = s.view(m)
				return nil
			}
		}
		return directory.ErrNotFound
	})
	return found, err
}

// Expiries implements directory.Reader. It includes what each domain sets, whether or
// not a mailbox inherits it. A Fault hears of it where it is not answered from memory.
func (s *Store) Expiries(ctx context.Context) (all []time.Duration, err error) {
	s.mu.Lock()
	all = slices.Clone(s.expiries)
	s.mu.Unlock()
	if all != nil {
		return all, ctx.Err()
	}
	err = s.use(ctx, Call{Method: "Expiries"}, func() error {
		values := map[time.Duration]bool{}
		for _, d := range s.domains {
			values[max(d.Retention.Retrieved, 0)] = true
		}
		for _, m := range s.byID {
			if m.Retention.Retrieved != 0 {
				values[max(m.Retention.Retrieved, 0)] = true
			}
		}
		s.expiries = slices.AppendSeq([]time.Duration{}, maps.Keys(values))
		slices.Sort(s.expiries)
		all = slices.Clone(s.expiries)
		return nil
	})
	return all, err
}

// FirstDomain implements directory.Reader.
func (s *Store) FirstDomain(ctx context.Context) (name string, err error) {
	err = s.use(ctx, Call{Method: "FirstDomain"}, func() error {
		for _, m := range s.byID {
			if name == "" || m.Address.Domain < name {
				name = m.Address.Domain
			}
		}
		if name == "" {
			return directory.ErrNotFound
		}
		return nil
	})
	return name, err
}

// change is use for what may change Expiries.
func (s *Store) change(ctx context.Context, c Call, f func() error) error {
	return s.use(ctx, c, func() error {
		s.expiries = nil
		return f()
	})
}

// Domain implements directory.Reader.
func (s *Store) Domain(ctx context.Context, name string) (found directory.Domain, err error) {
	err = s.use(ctx, Call{Method: "Domain"}, func() error {
		d := s.domains[name]
		if d == nil {
			return directory.ErrNotFound
		}
		found = d.view()
		return nil
	})
	return found, err
}

// Domains implements directory.Reader.
func (s *Store) Domains(ctx context.Context) (all []directory.Domain, err error) {
	err = s.use(ctx, Call{Method: "Domains"}, func() error {
		for _, name := range slices.Sorted(maps.Keys(s.domains)) {
			all = append(all, s.domains[name].view())
		}
		return nil
	})
	return all, err
}

// compare orders addresses by domain, then by local part.
func compare(a, b mail.Address) int {
	return cmp.Or(cmp.Compare(a.Domain, b.Domain), cmp.Compare(a.Local, b.Local))
}

// addresses returns, in order, the keys of a map that are in a domain; all of them for
// the domain "".
func addresses[V any](of map[mail.Address]V, domain string) []mail.Address {
	return slices.DeleteFunc(slices.SortedFunc(maps.Keys(of), compare), func(a mail.Address) bool {
		return domain != "" && a.Domain != domain
	})
}

// Mailboxes implements directory.Reader.
func (s *Store) Mailboxes(ctx context.Context, domain string) (all []directory.Mailbox, err error) {
	err = s.use(ctx, Call{Method: "Mailboxes"}, func() error {
		for _, a := range addresses(s.mailboxes, domain) {
			all = append(all, s.view(s.mailboxes[a]))
		}
		return nil
	})
	return all, err
}

// Aliases implements directory.Reader.
func (s *Store) Aliases(ctx context.Context, domain string) (all []directory.Alias, err error) {
	err = s.use(ctx, Call{Method: "Aliases"}, func() error {
		for _, a := range addresses(s.aliases, domain) {
			all = append(all, directory.Alias{Address: a, Targets: slices.Clone(s.aliases[a])})
		}
		return nil
	})
	return all, err
}
