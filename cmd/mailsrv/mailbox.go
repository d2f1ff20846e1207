package main

import (
	"context"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"mailsrv/internal/admin"
	"mailsrv/internal/directory"
	"mailsrv/quota"
)

func (p *program) mailboxCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "mailbox COMMAND",
		Short: "The addresses that have a login, a limit and a maildrop",
		Long: `A mailbox is an address that has a login, a limit and a maildrop. Its owner
fetches the mail by POP3 with the full address as the name.

Capitals make no difference in an address, and mail for look+anything@me.com
reaches look@me.com.`,
	}, p.mailboxAdd(), p.mailboxSet(), p.mailboxShow(), p.mailboxList(), p.mailboxPasswd(),
		p.mailboxEnable(), p.mailboxDisable(), p.mailboxRemove())
}

func (p *program) mailboxAdd() *cobra.Command {
	var flags mailboxFlags
	var source secretFlags
	c := &cobra.Command{
		Use:   "add ADDRESS [flags]",
		Short: "Make a mailbox",
		Long: `Makes a mailbox of a hosted domain. It receives mail as soon as the command
ends.

` + secretHelp,
		Example: `  mailsrv mailbox add look@me.com
  mailsrv mailbox add look@me.com --quota 2GiB --generate
  pass show mail/look | mailsrv mailbox add look@me.com --password-stdin`,
	}
	flags.register(c, "the domain's", "off, or inherit for the domain's")
	source.register(c)
	return p.command(c, exactly("an ADDRESS"), func(ctx context.Context, args []string) error {
		if err := source.check(); err != nil {
			return err
		}
		return p.with(ctx, func(a *admin.Admin) error {
			if err := a.MayAddMailbox(ctx, args[0]); err != nil {
				return err
			}
			secret, err := p.secret(source, args[0])
			if err != nil {
				return err
			}
			m, err := a.AddMailbox(ctx, args[0], secret, flags.change())
			if err != nil {
				return err
			}
			p.printf("%s receives mail now.\n", m.Address)
			if d, err := a.Domain(ctx, m.Address.Domain); err == nil && d.Postmaster.IsZero() && d.Serving == m.Address {
				p.printf("As the first mailbox of %s it also gets the mail for postmaster and abuse.\n", d.Name)
			}
			if source.generate {
				p.printf("Password: %s\n", secret.Password)
			}
			return nil
		})
	})
}

func (p *program) mailboxSet() *cobra.Command {
	var flags mailboxFlags
	c := &cobra.Command{
		Use:   "set ADDRESS [flags]",
		Short: "Change the limits or the retention of a mailbox",
		Long: `Changes what is given and keeps the rest. "inherit" lets count again what the
domain sets. A limit below what the mailbox holds keeps its mail and refuses
more.

` + retentionHelp,
		Example: `  mailsrv mailbox set look@me.com --quota 2GiB
  mailsrv mailbox set look@me.com --quota inherit --messages 10000
  mailsrv mailbox set look@me.com --keep-retrieved 30d --undelete-for 7d`,
	}
	flags.register(c, "the domain's", "off, or inherit for the domain's")
	return p.command(c, exactly("an ADDRESS"), func(ctx context.Context, args []string) error {
		if !flags.given() {
			return usage("nothing to change: give --quota, --messages, --keep-retrieved or --undelete-for")
		}
		return p.with(ctx, func(a *admin.Admin) error {
			return p.setMailbox(ctx, a, args[0], flags.change())
		})
	})
}

// retentionHelp explains --keep-retrieved and --undelete-for.
const retentionHelp = `A message is retrieved once its owner has fetched all of it and said QUIT. With
--keep-retrieved the server removes it so long after that, and never what
nobody retrieved. With --undelete-for, what a POP3 program or "maildrop purge"
deletes is kept aside so long, outside the quota: "maildrop undelete" brings it
back. Of a mailbox no more than its limit is kept aside, and the oldest goes
first; off gives up what is there. Both are off unless set, and 1d at the least.`

// setMailbox changes a mailbox and prints its new settings.
func (p *program) setMailbox(ctx context.Context, a *admin.Admin, address string, change admin.MailboxChange) error {
	before, err := a.Mailbox(ctx, address)
	if err != nil {
		return err
	}
	m, err := a.SetMailbox(ctx, address, change)
	if err != nil {
		return err
	}
	if err := p.showMailbox(ctx, a, m); err != nil {
		return err
	}
	if percent, limited := m.Effective.Limit.Percent(m.Usage); limited && percent > 100 {
		p.printf("It holds more than its limit: the mail stays, and more is refused until enough\nis deleted.\n")
	}
	if !narrower(m.Effective.Limit, before.Effective.Limit) {
		return nil
	}
	return p.showLeading(ctx, a, limitedAlias, m.Address)
}

// limitedAlias is the text on what a limit means for the aliases that lead to a mailbox.
const limitedAlias = `These aliases lead there: while a mailbox is full, their senders are told to
come back later; a message above its whole limit goes to their other mailboxes
alone, or is refused where there is none:`

// narrower reports whether a limit allows less than another.
func narrower(now, before quota.Limit) bool {
	less := func(now, before int64) bool { return now > 0 && (before <= 0 || now < before) }
	return less(now.Octets, before.Octets) || less(now.Messages, before.Messages)
}

func (p *program) mailboxShow() *cobra.Command {
	c := &cobra.Command{
		Use:     "show ADDRESS [flags]",
		Short:   "Show one mailbox",
		Long:    "Shows the state of a mailbox, what it holds, what it may hold and for how long,\nand what is kept aside of what was deleted.",
		Example: "  mailsrv mailbox show look@me.com",
	}
	asJSON := jsonFlag(c)
	return p.command(c, exactly("an ADDRESS"), func(ctx context.Context, args []string) error {
		return p.with(ctx, func(a *admin.Admin) error {
			m, err := a.Mailbox(ctx, args[0])
			if err != nil {
				return err
			}
			if *asJSON {
				aside, err := a.Aside(ctx, m)
				if err != nil {
					return err
				}
				return p.printJSON(viewMailbox(m, aside))
			}
			return p.showMailbox(ctx, a, m)
		})
	})
}

func (p *program) showMailbox(ctx context.Context, a *admin.Admin, m directory.Mailbox) error {
	aside, err := a.Aside(ctx, m)
	if err != nil {
		return err
	}
	p.printf("%s\n  state      %s\n", m.Address, stateText(m))
	p.printf("  octets     %s%s\n", quota.FormatSize(m.Usage.Octets),
		limitText(ofLimit(m.Effective.Limit.Octets, sizeText), m.Limit.Octets, "inherited"))
	p.printf("  messages   %d%s\n", m.Usage.Messages,
		limitText(ofLimit(m.Effective.Limit.Messages, countText), m.Limit.Messages, "inherited"))
	p.printf("  full       %s\n", fullText(m.Effective.Limit, m.Usage, isTerminal(p.stdout)))
	p.printf("  retrieved  %s%s\n  deleted    %s%s\n",
		retrievedText(m.Effective.Retention), inheritedText(m.Retention.Retrieved),
		deletedText(m.Effective.Retention), inheritedText(m.Retention.Deleted))
	if aside.Messages > 0 {
		p.printf("  aside      %s\n", amount(aside))
	}
	return nil
}

// retrievedText returns what happens to a message that was retrieved.
func retrievedText(effective directory.Retention) string {
	if effective.Retrieved <= 0 {
		return "stays until it is deleted"
	}
	return "goes after " + formatDuration(effective.Retrieved)
}

// deletedText returns what happens to a message that was deleted.
func deletedText(effective directory.Retention) string {
	if effective.Deleted <= 0 {
		return "is gone"
	}
	return "can be undeleted for " + formatDuration(effective.Deleted)
}

// inheritedText returns a note for a part of a retention that the mailbox does not set.
func inheritedText(own time.Duration) string {
	if own == 0 {
		return " (inherited)"
	}
	return ""
}

// ofLimit returns the text that follows an amount: the limit that bounds it.
func ofLimit(limit int64, text func(int64) string) string {
	if limit <= 0 {
		return ", no limit"
	}
	return " of " + text(limit)
}

func stateText(m directory.Mailbox) string {
	if m.Switches.Disabled() {
		return "disabled"
	}
	return "enabled"
}

func (p *program) mailboxList() *cobra.Command {
	c := &cobra.Command{
		Use:     "list [DOMAIN] [flags]",
		Short:   "List the mailboxes",
		Long:    "Lists the mailboxes of a domain, or all, with what they hold.",
		Example: "  mailsrv mailbox list\n  mailsrv mailbox list me.com --json",
	}
	asJSON := jsonFlag(c)
	return p.command(c, between(0, 1), func(ctx context.Context, args []string) error {
		return p.with(ctx, func(a *admin.Admin) error {
			all, err := a.Mailboxes(ctx, optional(args))
			if err != nil {
				return err
			}
			if *asJSON {
				aside, err := a.Asides(ctx)
				if err != nil {
					return err
				}
				return p.printJSON(views(all, func(m directory.Mailbox) mailboxView { return viewMailbox(m, aside[m.ID]) }))
			}
			if len(all) == 0 {
				p.printf("There is no mailbox yet: mailsrv mailbox add ADDRESS\n")
				return nil
			}
			t := newTable("ADDRESS", "STATE", ">MESSAGES", ">USED", ">LIMIT", "FULL")
			for _, m := range all {
				t.row(m.Address.String(), stateText(m), strconv.FormatInt(m.Usage.Messages, 10),
					quota.FormatSize(m.Usage.Octets), sizeText(m.Effective.Limit.Octets),
					fullText(m.Effective.Limit, m.Usage, isTerminal(p.stdout)))
			}
			t.write(p.out)
			return nil
		})
	})
}

// optional returns the optional argument, or "".
func optional(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

func (p *program) mailboxPasswd() *cobra.Command {
	var source secretFlags
	c := &cobra.Command{
		Use:   "passwd ADDRESS [flags]",
		Short: "Change the password of a mailbox",
		Long: `Changes the password of a mailbox; the old one stops working as soon as the
command ends. POP3 sessions that logged in with it end at their next command,
a second later at the latest, and delete nothing.

` + secretHelp,
		Example: `  mailsrv mailbox passwd look@me.com
  mailsrv mailbox passwd look@me.com --generate`,
	}
	source.register(c)
	return p.command(c, exactly("an ADDRESS"), func(ctx context.Context, args []string) error {
		if err := source.check(); err != nil {
			return err
		}
		return p.with(ctx, func(a *admin.Admin) error {
			if _, err := a.Mailbox(ctx, args[0]); err != nil {
				return err
			}
			secret, err := p.secret(source, args[0])
			if err != nil {
				return err
			}
			m, err := a.SetSecret(ctx, args[0], secret)
			if err != nil {
				return err
			}
			p.printf("%s has a new password.\n", m.Address)
			if source.generate {
				p.printf("Password: %s\n", secret.Password)
			}
			return nil
		})
	})
}

func (p *program) mailboxEnable() *cobra.Command {
	c := &cobra.Command{
		Use:     "enable ADDRESS",
		Short:   "Let a mailbox receive mail and log in again",
		Long:    "Lets a disabled mailbox receive mail and log in again.",
		Example: "  mailsrv mailbox enable look@me.com",
	}
	return p.command(c, exactly("an ADDRESS"), func(ctx context.Context, args []string) error {
		return p.with(ctx, func(a *admin.Admin) error {
			m, err := a.Enable(ctx, args[0])
			if err == nil {
				p.printf("%s receives mail and can log in.\n", m.Address)
			}
			return err
		})
	})
}

func (p *program) mailboxDisable() *cobra.Command {
	c := &cobra.Command{
		Use:   "disable ADDRESS",
		Short: "Refuse logins and new mail of a mailbox, and keep its mail",
		Long: `Refuses new mail and logins for a mailbox and keeps what it holds. Mail for it
does not fall to a catch-all, and aliases that lead to it leave it out. The
mailbox that serves as a domain's postmaster cannot be disabled.`,
		Example: "  mailsrv mailbox disable look@me.com",
	}
	return p.command(c, exactly("an ADDRESS"), func(ctx context.Context, args []string) error {
		return p.with(ctx, func(a *admin.Admin) error {
			m, err := a.Disable(ctx, args[0])
			if err != nil {
				return err
			}
			p.printf("%s is disabled; it keeps %s.\n", m.Address, amount(m.Usage))
			return p.showLeading(ctx, a, `These aliases lead to it: their mail goes to their other mailboxes alone, and is
refused where there is no other:`, m.Address)
		})
	})
}

func (p *program) mailboxRemove() *cobra.Command {
	yes := false
	c := &cobra.Command{
		Use:        "remove ADDRESS [flags]",
		SuggestFor: deletes,
		Short:      "Remove a mailbox and all its mail",
		Long: `Removes a mailbox and all its mail for good, also what could have been
undeleted. On a terminal it asks first, and says how much mail goes; without
one --yes is needed. Aliases that lead to the mailbox must have been removed
before.`,
		Example: `  mailsrv mailbox remove look@me.com
  mailsrv mailbox remove look@me.com --yes`,
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return p.command(c, exactly("an ADDRESS"), func(ctx context.Context, args []string) error {
		return p.with(ctx, func(a *admin.Admin) error {
			m, err := a.Mailbox(ctx, args[0])
			if err != nil {
				return err
			}
			if err := p.confirm(yes, "This removes "+m.Address.String()+" and its mail for good ("+amount(m.Usage)+")."); err != nil {
				return err
			}
			before, err := a.Domain(ctx, m.Address.Domain)
			if err != nil {
				return err
			}
			removed, err := a.RemoveMailbox(ctx, args[0])
			if err != nil {
				return err
			}
			p.printf("%s is removed, and with it %s.\n", m.Address, amount(removed))
			switch after, err := a.Domain(ctx, m.Address.Domain); {
			case err != nil:
				return err
			case after.Serving.IsZero():
				p.printf("Mail for postmaster@%s is refused until it has a mailbox again.\n", after.Name)
			case before.Serving == m.Address:
				p.printf("%s receives the mail for postmaster@%s now.\n", after.Serving, after.Name)
			}
			return nil
		})
	})
}
