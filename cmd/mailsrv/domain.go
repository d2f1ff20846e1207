package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"mailsrv/internal/admin"
	"mailsrv/internal/mail"
	"mailsrv/quota"
)

func (p *program) domainCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "domain COMMAND",
		Short: "The domains for which mail is taken",
		Long: `A domain is a name for which this server takes mail; mail for any other domain
is refused. Point its MX record here, add it, then add its mailboxes.

Every hosted domain receives mail for postmaster and abuse (RFC 5321, RFC
2142). The mailbox set as its postmaster gets it, or else the domain's first
mailbox; an alias of that name goes before both.`,
	}, p.domainAdd(), p.domainSet(), p.domainShow(), p.domainList(), p.domainRemove())
}

// domainFlags are the flags that domain add and domain set share.
type domainFlags struct {
	mailboxFlags
	postmaster string
}

func (f *domainFlags) register(c *cobra.Command) {
	c.Flags().StringVar(&f.postmaster, "postmaster", "", "mailbox `ADDRESS` for postmaster and abuse; empty: the first")
	f.mailboxFlags.register(c, "the server's", "or off")
}

func (f *domainFlags) change(c *cobra.Command) admin.DomainChange {
	change := admin.DomainChange{Limit: f.limit.change(), Retention: f.retention.change()}
	if c.Flags().Changed("postmaster") {
		change.Postmaster = &f.postmaster
	}
	return change
}

func (p *program) domainAdd() *cobra.Command {
	var flags domainFlags
	c := &cobra.Command{
		Use:   "add DOMAIN [flags]",
		Short: "Take mail for a domain",
		Long: `Begins to take mail for a domain. The first domain makes the data directory
too. --quota and --messages limit each mailbox of the domain that sets no limit
of its own; without them the server's quota.default_size and
quota.default_messages count. --keep-retrieved and --undelete-for hold for each
mailbox that sets none, too; without them mail stays until it is deleted, and is
then gone.`,
		Example: `  mailsrv domain add me.com
  mailsrv domain add you.example --quota 500MiB --postmaster look@me.com`,
	}
	flags.register(c)
	return p.command(c, exactly("a DOMAIN"), func(ctx context.Context, args []string) error {
		return p.withNew(ctx, func(a *admin.Admin) error {
			d, err := a.AddDomain(ctx, args[0], flags.change(c))
			if err != nil {
				return err
			}
			p.printf("%s is hosted here.\n", d.Name)
			if d.Serving.IsZero() {
				p.printf("Its first mailbox will receive the mail for postmaster and abuse:\n  mailsrv mailbox add ADDRESS@%s\n", d.Name)
			} else {
				p.printf("%s receives the mail for its postmaster and abuse.\n", d.Serving)
			}
			return nil
		})
	})
}

func (p *program) domainSet() *cobra.Command {
	var flags domainFlags
	c := &cobra.Command{
		Use:   "set DOMAIN [flags]",
		Short: "Change the postmaster, the limits or the retention of a domain",
		Long: `Changes what is given and keeps the rest. Limits and retention are those of
each mailbox that sets none of its own. A limit below what a mailbox holds
keeps its mail and refuses more.

` + retentionHelp,
		Example: `  mailsrv domain set me.com --postmaster look@me.com
  mailsrv domain set me.com --quota 2GiB --messages inherit
  mailsrv domain set me.com --keep-retrieved 14d --undelete-for 7d`,
	}
	flags.register(c)
	return p.command(c, exactly("a DOMAIN"), func(ctx context.Context, args []string) error {
		change := flags.change(c)
		if change.Postmaster == nil && !flags.given() {
			return usage("nothing to change: give --postmaster, --quota, --messages, --keep-retrieved or --undelete-for")
		}
		return p.with(ctx, func(a *admin.Admin) error { return p.setDomain(ctx, a, args[0], change) })
	})
}

// setDomain changes a domain and prints its new settings.
func (p *program) setDomain(ctx context.Context, a *admin.Admin, name string, change admin.DomainChange) error {
	before, err := a.Mailboxes(ctx, name)
	if err != nil {
		return err
	}
	d, err := a.SetDomain(ctx, name, change)
	if err != nil {
		return err
	}
	p.showDomain(d)
	after, err := a.Mailboxes(ctx, name)
	if err != nil {
		return err
	}
	limits := map[mail.Address]quota.Limit{}
	for _, m := range before {
		limits[m.Address] = m.Effective.Limit
	}
	var narrowed []mail.Address
	for _, m := range after {
		if then, found := limits[m.Address]; found && narrower(m.Effective.Limit, then) {
			narrowed = append(narrowed, m.Address)
		}
	}
	if len(narrowed) == 0 {
		return nil
	}
	return p.showLeading(ctx, a, limitedAlias, narrowed...)
}

func (p *program) domainShow() *cobra.Command {
	c := &cobra.Command{
		Use:     "show DOMAIN [flags]",
		Short:   "Show one domain",
		Long:    "Shows a domain's postmaster, its limits and retention, and what its mailboxes\nhold together.",
		Example: "  mailsrv domain show me.com",
	}
	asJSON := jsonFlag(c)
	return p.command(c, exactly("a DOMAIN"), func(ctx context.Context, args []string) error {
		return p.with(ctx, func(a *admin.Admin) error {
			d, err := a.Domain(ctx, args[0])
			if err != nil {
				return err
			}
			if *asJSON {
				return p.printJSON(viewDomain(d))
			}
			p.showDomain(d)
			return nil
		})
	})
}

func (p *program) showDomain(d admin.Domain) {
	p.printf("%s\n", d.Name)
	switch {
	case d.Serving.IsZero():
		p.printf("  postmaster     none yet: the first mailbox will be\n")
	case d.Postmaster.IsZero():
		p.printf("  postmaster     %s, its first mailbox\n", d.Serving)
	default:
		p.printf("  postmaster     %s\n", d.Serving)
	}
	p.printf("  mailboxes      %d\n  aliases        %d\n", d.Mailboxes, d.Aliases)
	p.printf("  holds          %s\n", amount(d.Usage))
	p.printf("  mailbox limit  %s, %s\n",
		limitText(sizeText(d.Effective.Limit.Octets), d.Limit.Octets, "the server's"),
		limitText(messagesText(d.Effective.Limit.Messages), d.Limit.Messages, "the server's"))
	p.printf("  retrieved      %s\n  deleted        %s\n",
		retrievedText(d.Effective.Retention), deletedText(d.Effective.Retention))
}

// limitText returns text with a note on where the limit comes from, if it is not the own
// one.
func limitText(text string, own int64, wider string) string {
	if own == quota.Inherit {
		return text + " (" + wider + ")"
	}
	return text
}

func messagesText(n int64) string {
	if n <= 0 {
		return "any number of messages"
	}
	return plural(n, "message", "messages")
}

func (p *program) domainList() *cobra.Command {
	c := &cobra.Command{
		Use:     "list [flags]",
		Short:   "List the domains",
		Long:    "Lists all hosted domains with what they hold. LIMIT is that of a mailbox that\nsets none of its own.",
		Example: "  mailsrv domain list\n  mailsrv domain list --json | jq -r '.[].name'",
	}
	asJSON := jsonFlag(c)
	return p.command(c, exactly(), func(ctx context.Context, _ []string) error {
		return p.with(ctx, func(a *admin.Admin) error {
			all, err := a.Domains(ctx)
			if err != nil {
				return err
			}
			if *asJSON {
				return p.printJSON(views(all, viewDomain))
			}
			if len(all) == 0 {
				p.printf("No domain is hosted here yet: mailsrv domain add DOMAIN\n")
				return nil
			}
			t := newTable("DOMAIN", ">MAILBOXES", ">ALIASES", ">MESSAGES", ">USED", ">LIMIT", "POSTMASTER")
			for _, d := range all {
				t.row(d.Name, strconv.Itoa(d.Mailboxes), strconv.Itoa(d.Aliases),
					strconv.FormatInt(d.Usage.Messages, 10), quota.FormatSize(d.Usage.Octets),
					sizeText(d.Effective.Limit.Octets), d.Serving.String())
			}
			t.write(p.out)
			return nil
		})
	})
}

func (p *program) domainRemove() *cobra.Command {
	c := &cobra.Command{
		Use:        "remove DOMAIN",
		SuggestFor: deletes,
		Short:      "Stop taking mail for a domain",
		Long: `Stops taking mail for a domain. Its mailboxes and aliases, and aliases of other
domains that lead to it, must have been removed before.`,
		Example: "  mailsrv domain remove me.com",
	}
	return p.command(c, exactly("a DOMAIN"), func(ctx context.Context, args []string) error {
		return p.with(ctx, func(a *admin.Admin) error {
			if err := a.RemoveDomain(ctx, args[0]); err != nil {
				return err
			}
			p.printf("%s is not hosted here any more.\n", args[0])
			return nil
		})
	})
}
