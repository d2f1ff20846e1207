package memory

import (
	"context"
	"fmt"

	"mailsrv/internal/directory"
	"mailsrv/quota"
	"mailsrv/storage"
)

// Check implements [storage.Checker]. It mends nothing: a finding is a bug of this
// package or of its caller.
func (s *Store) Check(ctx context.Context, _ bool, report func(storage.Finding)) (remaining int, err error) {
	err = s.use(ctx, Call{Method: "Check"}, func() error {
		c := &counting{report: report}
		validities := map[int64]bool{}
		for _, m := range sortedByID(s.byID) {
			var all quota.Usage
			for _, f := range m.folders {
				name := fmt.Sprintf("maildrop %s, folder %d", m.Address, f.id)
				c.unless(!validities[f.validity], "%s has the validity %d of another", name, f.validity)
				validities[f.validity] = true
				c.folder(name, f)
				all = all.Add(f.held)
			}
			c.unless(all == m.Usage, "mailbox %s counts %+v, its folders %+v", m.Address, m.Usage, all)
			c.unless(s.mailboxes[m.Address] == m, "mailbox %s is another by its address", m.Address)
			_, both := s.aliases[m.Address]
			c.unless(!both, "address %s is both a mailbox and an alias", m.Address)
		}
		var all []directory.Alias
		for alias, targets := range s.aliases {
			all = append(all, directory.Alias{Address: alias})
			for _, target := range targets {
				c.unless(s.taken(target), "alias %s: its target %s does not exist", alias, target)
			}
		}
		if err := directory.EachOutgrown(aliases(s.aliases), all, func(o *directory.OutgrownError) { c.unless(false, "%v", o) }); err != nil {
			return err
		}
		remaining = c.found
		return nil
	})
	return remaining, err
}

// counting reports findings and counts them.
type counting struct {
	report func(storage.Finding)
	found  int
}

func (c *counting) unless(holds bool, format string, args ...any) {
	if !holds {
		c.found++
		c.report(storage.Finding{Text: fmt.Sprintf(format, args...)})
	}
}

// folder recounts one folder.
func (c *counting) folder(name string, f *folder) {
	var held quota.Usage
	var last storage.UID
	uidls := map[string]bool{}
	for _, e := range f.entries {
		octets := e.octets()
		c.unless(e.Octets == octets, "%s, uid %d: its size is %d, its parts have %d", name, e.UID, e.Octets, octets)
		c.unless(e.UID > last, "%s, uid %d comes after %d", name, e.UID, last)
		c.unless(e.ModSeq > 0 && e.ModSeq <= f.modseq, "%s, uid %d has modseq %d of %d", name, e.UID, e.ModSeq, f.modseq)
		c.unless(!uidls[e.UIDL], "%s holds UIDL %s twice", name, e.UIDL)
		uidls[e.UIDL], last = true, e.UID
		held = held.Add(quota.Usage{Octets: octets, Messages: 1})
	}
	c.unless(held == f.held, "%s counts %+v, holds %+v", name, f.held, held)
	c.unless(last <= f.last, "%s gave uid %d, holds %d", name, f.last, last)
	c.unless(f.last < storage.MaxUID, "%s has given its last uid and takes no mail", name)
	c.unless(f.expunged <= f.modseq, "%s counts modseq %d, removed at %d", name, f.modseq, f.expunged)
}
