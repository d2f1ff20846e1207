package admin

import (
	"context"
	"fmt"

	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
)

// Leading returns the aliases that lead to any of the mailboxes, directly or through
// other aliases, in the order of their addresses.
func (a *Admin) Leading(ctx context.Context, mailboxes ...mail.Address) ([]directory.Alias, error) {
	all, err := a.Directory.Aliases(ctx, "")
	if err != nil {
		return nil, fmt.Errorf("list aliases: %w", err)
	}
	naming := map[mail.Address][]mail.Address{} // by target: the aliases that name it
	for _, alias := range all {
		for _, target := range alias.Targets {
			naming[target] = append(naming[target], alias.Address)
		}
	}
	leads := map[mail.Address]bool{}
	for next := mailboxes; len(next) > 0; {
		var further []mail.Address
		for _, address := range next {
			for _, alias := range naming[address] {
				if !leads[alias] {
					leads[alias] = true
					further = append(further, alias)
				}
			}
		}
		next = further
	}
	var leading []directory.Alias
	for _, alias := range all {
		if leads[alias.Address] {
			leading = append(leading, alias)
		}
	}
	return leading, nil
}
