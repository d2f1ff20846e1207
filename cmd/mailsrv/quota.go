package main

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"mailsrv/internal/admin"
	"mailsrv/internal/directory"
	"mailsrv/quota"
)

func (p *program) quotaCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "quota COMMAND",
		Short: "What maildrops hold, and what they may hold",
		Long: `A quota limits the octets and the messages of each mailbox. The mailbox's own
limit counts, else its domain's, else the server's (quota.default_size and
quota.default_messages). Usage never grows above the limit: mail that does not
fit is refused while the sender can still hear it.

Sizes are written as 500MiB, 2G (2GiB), 1.5GB or 4096; 0 is no limit.`,
	}, p.quotaShow(), p.quotaSet())
}

// mailboxQuota is one line of quota show as JSON.
type mailboxQuota struct {
	Address string    `json:"address"`
	Quota   quotaView `json:"quota"`
	// Deleted messages that can be undeleted, outside the quota.
	AsideOctets   int64 `json:"aside_octets"`
	AsideMessages int64 `json:"aside_messages"`
}

func (p *program) quotaShow() *cobra.Command {
	c := &cobra.Command{
		Use:   "show [ADDRESS|DOMAIN] [flags]",
		Short: "Show usage and limits",
		Long: `Shows what each mailbox holds and may hold: of one mailbox, of a domain, or of
all. FULL is the fuller of octets and messages. ASIDE is what was deleted and
can be undeleted, outside the limits.`,
		Example: "  mailsrv quota show\n  mailsrv quota show look@me.com",
	}
	asJSON := jsonFlag(c)
	return p.command(c, between(0, 1), func(ctx context.Context, args []string) error {
		return p.with(ctx, func(a *admin.Admin) error {
			all, err := mailboxesOf(ctx, a, optional(args))
			if err != nil {
				return err
			}
			aside, err := a.Asides(ctx)
			if err != nil {
				return err
			}
			if *asJSON {
				return p.printJSON(views(all, func(m directory.Mailbox) mailboxQuota {
					return mailboxQuota{m.Address.String(), viewQuota(m.Usage, m.Limit, m.Effective.Limit), aside[m.ID].Octets, aside[m.ID].Messages}
				}))
			}
			if len(all) == 0 {
				p.printf("There is no mailbox yet: mailsrv mailbox add ADDRESS\n")
				return nil
			}
			t := newTable("ADDRESS", ">USED", ">LIMIT", ">MESSAGES", ">LIMIT", ">ASIDE", "FULL")
			for _, m := range all {
				t.row(m.Address.String(), quota.FormatSize(m.Usage.Octets), sizeText(m.Effective.Limit.Octets),
					strconv.FormatInt(m.Usage.Messages, 10), countText(m.Effective.Limit.Messages),
					quota.FormatSize(aside[m.ID].Octets), fullText(m.Effective.Limit, m.Usage, isTerminal(p.stdout)))
			}
			t.write(p.out)
			return nil
		})
	})
}

// mailboxesOf returns one mailbox, those of a domain, or all for "".
func mailboxesOf(ctx context.Context, a *admin.Admin, which string) ([]directory.Mailbox, error) {
	if domain, isDomain := domainArgument(which); which == "" || isDomain {
		return a.Mailboxes(ctx, domain)
	}
	m, err := a.Mailbox(ctx, which)
	return []directory.Mailbox{m}, err
}

// domainArgument tells "me.com" and "@me.com" from an address.
func domainArgument(text string) (string, bool) {
	at := strings.LastIndexByte(text, '@')
	return text[at+1:], at <= 0
}

func (p *program) quotaSet() *cobra.Command {
	var messages amountFlag
	c := &cobra.Command{
		Use:   "set ADDRESS|DOMAIN SIZE [flags]",
		Short: "Limit what a mailbox, or each mailbox of a domain, may hold",
		Long: `Limits a mailbox, or with a DOMAIN each mailbox of it that has no limit of its
own. SIZE is an amount of octets such as 500MiB, 0 for no limit, or "inherit"
for what counts around it. The limit counts at once; one below what is held
keeps the mail and refuses more.`,
		Example: `  mailsrv quota set look@me.com 2GiB
  mailsrv quota set look@me.com inherit --messages 10000
  mailsrv quota set me.com 500MiB`,
	}
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		// "-1" is read as a flag.
		if _, amount, found := strings.Cut(err.Error(), " in -"); found && strings.IndexAny(amount, "0123456789") == 0 {
			return usage("\"-%s\" is not a size: write 0 for no limit, or inherit for what counts around it", amount)
		}
		return c.Parent().FlagErrorFunc()(c, err)
	})
	messages = amountFlag{kind: "N", parse: parseCount}
	c.Flags().Var(&messages, "messages", "most messages held; 0 for no limit, or inherit")
	return p.command(c, exactly("an ADDRESS or a DOMAIN", "a SIZE"), func(ctx context.Context, args []string) error {
		octets, err := parseSize(args[1])
		if err != nil {
			return usage("%v", err)
		}
		change := admin.LimitChange{Octets: &octets, Messages: messages.value}
		return p.with(ctx, func(a *admin.Admin) error {
			name, isDomain := domainArgument(args[0])
			if !isDomain {
				return p.setMailbox(ctx, a, args[0], admin.MailboxChange{Limit: change})
			}
			return p.setDomain(ctx, a, name, admin.DomainChange{Limit: change})
		})
	})
}
