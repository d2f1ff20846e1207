package directory

import (
	"fmt"

	"mailsrv/internal/mail"
)

// Aliases is the part of a directory that [Outgrown] reads, within the transaction that
// changes it.
type Aliases interface {
	// Targets returns the targets of an alias, none if the address is no alias.
	Targets(a mail.Address) ([]mail.Address, error)
	// Naming returns the aliases of which an address is a target.
	Naming(a mail.Address) ([]mail.Address, error)
}

// OutgrownError says that an alias is in a loop or beyond the bounds, so that mail for it
// could not be delivered. It wraps [ErrBadAlias].
type OutgrownError struct{ Alias mail.Address }

func (e *OutgrownError) Error() string {
	return fmt.Sprintf("alias %s: it leads back to itself, over more than %d aliases or to more than %d mailboxes", e.Alias, maxDepth, maxTargets)
}

// Unwrap returns [ErrBadAlias].
func (e *OutgrownError) Unwrap() error { return ErrBadAlias }

// Outgrown returns an [*OutgrownError] if an alias with these targets, or another alias
// that leads to it, could not be resolved; else nil, or an error of d. It reads each
// alias that it meets once.
func Outgrown(d Aliases, alias Alias) error {
	w := weighing{Aliases: d, changed: alias, known: map[mail.Address]*weight{}}
	for above, next := map[mail.Address]bool{alias.Address: true}, []mail.Address{alias.Address}; len(next) > 0; next = next[1:] {
		weight, err := w.of(next[0])
		if err != nil {
			return err
		}
		if weight.tooMuch() {
			return &OutgrownError{next[0]}
		}
		naming, err := d.Naming(next[0])
		if err != nil {
			return err
		}
		for _, a := range naming {
			if !above[a] {
				above[a] = true
				next = append(next, a)
			}
		}
	}
	return nil
}

// EachOutgrown calls f for each of the aliases that cannot be resolved.
func EachOutgrown(d Aliases, all []Alias, f func(*OutgrownError)) error {
	w := weighing{Aliases: d, known: map[mail.Address]*weight{}}
	for _, alias := range all {
		weight, err := w.of(alias.Address)
		if err != nil {
			return err
		}
		if weight.tooMuch() {
			f(&OutgrownError{alias.Address})
		}
	}
	return nil
}

// weight is what following an address comes to, as Resolve counts it.
type weight struct {
	depth, steps int
	mailboxes    map[mail.Address]bool // of an alias
	open         bool                  // it is being weighed: who meets it is in a loop
}

func (w *weight) tooMuch() bool {
	return w.open || w.depth > maxDepth || w.steps > maxSteps || len(w.mailboxes) > maxTargets
}

// weighing knows the weight of each address that it has met.
type weighing struct {
	Aliases
	changed Alias
	known   map[mail.Address]*weight
}

func (w *weighing) of(a mail.Address) (*weight, error) {
	if known := w.known[a]; known != nil {
		return known, nil
	}
	targets := w.changed.Targets
	if a != w.changed.Address {
		var err error
		if targets, err = w.Targets(a); err != nil {
			return nil, err
		}
	}
	all := &weight{steps: 1}
	w.known[a] = all
	if len(targets) == 0 {
		all.mailboxes = map[mail.Address]bool{a: true}
		return all, nil
	}
	all.open = true
	all.mailboxes = map[mail.Address]bool{}
	for _, target := range targets {
		one, err := w.of(target)
		if err != nil {
			return nil, err
		}
		all.depth = max(all.depth, one.depth+1)
		all.steps = min(all.steps+one.steps, maxSteps+1)
		for m := range one.mailboxes {
			all.mailboxes[m] = true
		}
		if one.tooMuch() {
			return all, nil // and stays open: so is all that leads there
		}
	}
	all.open = false
	return all, nil
}
