package main

import (
	"context"
	"fmt"
	"io"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"mailsrv/internal/admin"
)

func (p *program) maildropCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "maildrop COMMAND",
		Short: "The messages waiting for a mailbox",
		Long: `A maildrop is the messages waiting for one mailbox. These commands look into it
and empty it without the owner's password, and bring back what was deleted. A
message goes by its number in the list, or by its UIDL: the id that the sender
was told, that stands in its Received field and in the log.`,
	}, p.maildropList(), p.maildropRead(), p.maildropPurge(), p.maildropUndelete())
}

func (p *program) maildropRead() *cobra.Command {
	c := &cobra.Command{
		Use:   "read ADDRESS NUMBER|UIDL",
		Short: "Print a message",
		Long: `Prints a message with its trace fields, octet for octet as POP3 sends it. On a
terminal its control characters are shown in writing, since some of them are
orders to a terminal.`,
		Example: `  mailsrv maildrop read look@me.com 1
  mailsrv maildrop read look@me.com 1 > message.eml`,
	}
	return p.command(c, exactly("an ADDRESS", "a NUMBER or UIDL"), func(ctx context.Context, args []string) error {
		return p.with(ctx, func(a *admin.Admin) error {
			if !isTerminal(p.stdout) {
				return a.WriteMessage(ctx, args[0], args[1], p.out)
			}
			shown := &terminalWriter{to: p.out}
			if err := a.WriteMessage(ctx, args[0], args[1], shown); err != nil {
				return err
			}
			return shown.flush()
		})
	})
}

// terminalWriter makes text safe to show on a terminal: line ends and tabs stay, other
// control characters are escaped.
type terminalWriter struct {
	to   io.Writer
	rest []byte // first octets of a character that the next piece completes
}

func (w *terminalWriter) Write(piece []byte) (int, error) {
	text := append(w.rest, piece...)
	shown := make([]byte, 0, len(text)+len(text)/8)
	for len(text) > 0 && (utf8.FullRune(text) || len(text) >= utf8.UTFMax) {
		r, size := utf8.DecodeRune(text)
		switch {
		case r == '\n' || r == '\t':
			shown = append(shown, byte(r))
		case r == '\r':
			// The CR of a line end; a lone one never reaches a maildrop.
		case r == utf8.RuneError && size == 1:
			shown = append(shown, `\x`+hex(text[0])...)
		case unicode.IsPrint(r):
			shown = append(shown, text[:size]...)
		default:
			shown = append(shown, printable(string(r))...)
		}
		text = text[size:]
	}
	w.rest = append(w.rest[:0:0], text...)
	_, err := w.to.Write(shown)
	return len(piece), err
}

// flush writes an incomplete character at the end of the text.
func (w *terminalWriter) flush() error {
	var shown []byte
	for _, c := range w.rest {
		shown = append(shown, `\x`+hex(c)...)
	}
	_, err := w.to.Write(shown)
	return err
}

func hex(c byte) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[c>>4], digits[c&15]})
}

func (p *program) maildropPurge() *cobra.Command {
	yes := false
	var uidls []string
	c := &cobra.Command{
		Use:        "purge ADDRESS [flags]",
		SuggestFor: append([]string{"remove"}, deletes...),
		Short:      "Delete messages of a maildrop",
		Long: `Deletes the messages named with --uidl, or without it all that are in the
maildrop now. Where --undelete-for is set for the mailbox or its domain,
"maildrop undelete" can bring them back so long; else they are gone for good.
On a terminal it asks before it deletes all; without one --yes is needed. A
POP3 session that is open finds the messages gone.`,
		Example: `  mailsrv maildrop purge look@me.com --yes
  mailsrv maildrop purge look@me.com --uidl h2c5y4y5bqf6q3w7m2n4c6d7ea`,
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().StringArrayVar(&uidls, "uidl", nil, "delete the message `UIDL` alone; may be repeated")
	return p.command(c, exactly("an ADDRESS"), func(ctx context.Context, args []string) error {
		return p.with(ctx, func(a *admin.Admin) error {
			m, err := a.Mailbox(ctx, args[0])
			if err != nil {
				return err
			}
			undo := m.Effective.Retention.Deleted
			if len(uidls) == 0 {
				question := "This deletes all mail of " + m.Address.String()
				if undo > 0 {
					question += " (" + amount(m.Usage) + "), to be undone within " + formatDuration(undo) + "."
				} else {
					question += " for good (" + amount(m.Usage) + ")."
				}
				if err := p.confirm(yes, question); err != nil {
					return err
				}
			}
			removed, err := a.Purge(ctx, args[0], uidls)
			if err != nil {
				return err
			}
			p.printf("Deleted: %s.\n", amount(removed))
			if undo > 0 && removed.Messages > 0 {
				p.printf("For %s this brings it back: mailsrv maildrop undelete %s\n", formatDuration(undo), m.Address)
			}
			return nil
		})
	})
}

func (p *program) maildropUndelete() *cobra.Command {
	var since parsedFlag[time.Time]
	c := &cobra.Command{
		Use:   "undelete ADDRESS [flags]",
		Short: "Bring back deleted messages",
		Long: `Brings back what a POP3 program or "maildrop purge" deleted, as far back as
--undelete-for of the mailbox or its domain kept it. The messages come as new
mail behind what is there, under new UIDLs, so that POP3 programs fetch them
again; oldest deletion first, and as far as the quota allows. What expired by
--keep-retrieved does not come back.`,
		Example: `  mailsrv maildrop undelete look@me.com
  mailsrv maildrop undelete look@me.com --since 2h
  mailsrv maildrop undelete look@me.com --since "2026-11-20 15:04"`,
	}
	since = parsedFlag[time.Time]{kind: "TIME", parse: func(text string) (time.Time, error) { return parseSince(text, time.Now()) }}
	c.Flags().Var(&since, "since", "only what was deleted since then: 2h, 3d, 2026-11-20 or \"2026-11-20 15:04\"")
	return p.command(c, exactly("an ADDRESS"), func(ctx context.Context, args []string) error {
		from := time.Unix(0, 0)
		if since.value != nil {
			from = *since.value
		}
		return p.with(ctx, func(a *admin.Admin) error {
			m, err := a.Mailbox(ctx, args[0])
			if err != nil {
				return err
			}
			restored, left, err := a.Undelete(ctx, args[0], from)
			if restored.Messages > 0 {
				p.printf("Brought back as new mail: %s.\n", amount(restored))
			}
			switch {
			case err != nil:
				return err
			case left.Messages > 0:
				return &admin.Advice{Text: fmt.Sprintf("%s, did not fit and can still be brought back: raise the limit with: mailsrv mailbox set %s --quota SIZE --messages N, then undelete again",
					amount(left), m.Address)}
			case restored.Messages == 0 && m.Effective.Retention.Deleted <= 0:
				p.printf("Nothing was kept: what %s deletes is gone unless --undelete-for is set.\n", m.Address)
			case restored.Messages == 0:
				p.printf("Nothing that was deleted waits to be brought back.\n")
			}
			return nil
		})
	})
}
