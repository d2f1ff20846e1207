package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

func (p *program) manCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "man DIR",
		Short: "Write the manual pages into a folder",
		Long: `Writes a manual page for each command into a folder, made if it is not there.
They say what --help says.`,
		Example: "  mailsrv man /usr/local/share/man/man1",
	}
	return p.command(c, exactly("a DIR"), func(_ context.Context, args []string) error {
		if err := os.MkdirAll(args[0], 0o755); err != nil {
			return fmt.Errorf("manual pages: %w", err)
		}
		pages := 0
		err := eachCommand(c.Root(), func(c *cobra.Command) error {
			pages++
			return os.WriteFile(filepath.Join(args[0], pageName(c)+".1"), []byte(manPage(c)), 0o644)
		})
		if err != nil {
			return fmt.Errorf("manual pages: %w", err)
		}
		p.printf("%d pages are in %s; read them with: man -l %s\n", pages, args[0], filepath.Join(args[0], "mailsrv.1"))
		return nil
	})
}

// eachCommand visits c and the commands below it, without those that cobra adds.
func eachCommand(c *cobra.Command, visit func(*cobra.Command) error) error {
	if err := visit(c); err != nil {
		return err
	}
	for _, child := range c.Commands() {
		if !child.IsAvailableCommand() {
			continue
		}
		if err := eachCommand(child, visit); err != nil {
			return err
		}
	}
	return nil
}

func pageName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// manPage returns the page of one command in man(7) format. Cobra's own writer would pull
// in a Markdown processor.
func manPage(c *cobra.Command) string {
	c.InitDefaultHelpFlag()
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s 1 \"\" \"mailsrv\" \"mailsrv\"\n", strings.ToUpper(roff(pageName(c))))
	b.WriteString(".nh\n.ad l\n")
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(pageName(c)), roff(c.Short))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n", roff(c.UseLine()))
	b.WriteString(".SH DESCRIPTION\n" + roffText(c.Long))
	if children := c.Commands(); c.HasAvailableSubCommands() {
		b.WriteString(".SH COMMANDS\n")
		for _, child := range children {
			if child.IsAvailableCommand() {
				fmt.Fprintf(&b, ".TP\n.BR %s (1)\n%s\n", roff(pageName(child)), roff(child.Short))
			}
		}
	}
	b.WriteString(".SH OPTIONS\n" + roffText(c.Flags().FlagUsagesWrapped(70)))
	if c.Example != "" {
		b.WriteString(".SH EXAMPLES\n" + roffText(c.Example))
	}
	if parent := c.Parent(); parent != nil {
		fmt.Fprintf(&b, ".SH SEE ALSO\n.BR %s (1)\n", roff(pageName(parent)))
	}
	return b.String()
}

// roffText formats paragraphs. Lines that begin with two spaces are kept as they are.
func roffText(text string) string {
	var b strings.Builder
	literal := false
	for line := range strings.SplitSeq(text, "\n") {
		bare, indented := strings.CutPrefix(line, "  ")
		switch {
		case indented && !literal:
			b.WriteString(".PP\n.nf\n.RS 4\n")
		case !indented && literal:
			b.WriteString(".RE\n.fi\n")
		}
		literal = indented
		if line == "" {
			b.WriteString(".PP\n")
			continue
		}
		b.WriteString(roff(bare) + "\n")
	}
	if literal {
		b.WriteString(".RE\n.fi\n")
	}
	return b.String()
}

// roff escapes text that is to appear literally.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		return `\&` + s
	}
	return s
}
