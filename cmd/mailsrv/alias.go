package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"mailsrv/internal/admin"
	"mailsrv/internal/mail"
)

func (p *program) aliasCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "alias COMMAND",
		Short: "The addresses that stand for others",
		Long: `An alias is an address that stands for others, its targets: mailboxes and
aliases of domains hosted here. Each mailbox behind it gets one copy. When one
of them is full, the sender is told to come back later, and none gets it twice.
One that can never take a message, since it is disabled or the message larger
than its whole limit, is left out as long as another takes it; the log says so.

"@me.com" is the catch-all of me.com: it stands for every address of the domain
that is nothing else. It invites spam; prefer aliases with names.`,
	}, p.aliasAdd(), p.aliasList(), p.aliasRemove())
}

func (p *program) aliasAdd() *cobra.Command {
	c := &cobra.Command{
		Use:   "add ADDRESS TARGET...",
		Short: "Let an address stand for others",
		Long:  "Adds targets to an alias, which is made if it is not there yet.",
		Example: `  mailsrv alias add sales@me.com look@me.com second@me.com
  mailsrv alias add @me.com look@me.com`,
	}
	return p.command(c, between(2, -1, "an ADDRESS", "a TARGET"), func(ctx context.Context, args []string) error {
		return p.with(ctx, func(a *admin.Admin) error {
			alias, err := a.AddAlias(ctx, args[0], args[1:])
			if err != nil {
				return err
			}
			p.showAlias(viewAlias(alias))
			return nil
		})
	})
}

func (p *program) showAlias(v aliasView) {
	p.printf("%s leads to\n", v.Address)
	for _, target := range v.Targets {
		p.printf("  %s\n", target)
	}
}

// showLeading prints the aliases that lead to mailboxes, after a sentence on what happens
// to their mail.
func (p *program) showLeading(ctx context.Context, a *admin.Admin, sentence string, mailboxes ...mail.Address) error {
	leading, err := a.Leading(ctx, mailboxes...)
	if err != nil || len(leading) == 0 {
		return err
	}
	fmt.Fprintln(p.out, sentence)
	for _, alias := range leading {
		p.printf("  %s\n", admin.AliasName(alias.Address))
	}
	return nil
}

func (p *program) aliasList() *cobra.Command {
	c := &cobra.Command{
		Use:     "list [DOMAIN|ADDRESS] [flags]",
		Short:   "List the aliases",
		Long:    "Lists the aliases of a domain, one alias, or all.",
		Example: "  mailsrv alias list\n  mailsrv alias list sales@me.com",
	}
	asJSON := jsonFlag(c)
	return p.command(c, between(0, 1), func(ctx context.Context, args []string) error {
		return p.with(ctx, func(a *admin.Admin) error {
			all, err := a.Aliases(ctx, optional(args))
			if err != nil {
				return err
			}
			list := views(all, viewAlias)
			if *asJSON {
				return p.printJSON(list)
			}
			if len(list) == 0 {
				p.printf("There is no alias yet: mailsrv alias add ADDRESS TARGET\n")
				return nil
			}
			t := newTable("ADDRESS", "TARGETS")
			for _, alias := range list {
				address := alias.Address
				for _, target := range alias.Targets {
					t.row(address, target)
					address = ""
				}
			}
			t.write(p.out)
			return nil
		})
	})
}

func (p *program) aliasRemove() *cobra.Command {
	c := &cobra.Command{
		Use:        "remove ADDRESS [TARGET...]",
		SuggestFor: deletes,
		Short:      "Remove an alias, or some of its targets",
		Long: `Removes the targets named, and the alias when none is left. Without targets
the whole alias is removed.`,
		Example: `  mailsrv alias remove sales@me.com second@me.com
  mailsrv alias remove @me.com`,
	}
	return p.command(c, between(1, -1, "an ADDRESS"), func(ctx context.Context, args []string) error {
		return p.with(ctx, func(a *admin.Admin) error {
			left, err := a.RemoveAlias(ctx, args[0], args[1:])
			if err != nil {
				return err
			}
			v := viewAlias(left)
			if len(v.Targets) == 0 {
				p.printf("The alias %s is removed.\n", v.Address)
				return nil
			}
			p.showAlias(v)
			return nil
		})
	})
}
