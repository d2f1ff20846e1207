package main

import (
	"context"

	"github.com/spf13/cobra"
)

// commands returns the whole tree of commands. The manual pages are made from it too.
func (p *program) commands() *cobra.Command {
	root := group(&cobra.Command{
		Use:   "mailsrv COMMAND",
		Short: "Host mail for your domains: SMTP in, POP3 out",
		Long: `mailsrv hosts mail for your domains. It takes messages from the internet by
SMTP, puts each into the maildrops of its recipients under a quota that is
never exceeded, and serves every maildrop by POP3.

A domain, a mailbox, and the server:

  mailsrv domain add me.com
  mailsrv mailbox add look@me.com
  mailsrv serve

Every command works on the data directory, with the server running or stopped.
A change is there when the command ends, and counts at once.

The configuration is the file named by --config or MAILSRV_CONFIG, else
./mailsrv.yaml if you own it, else /etc/mailsrv/mailsrv.yaml, else the
defaults. Each key can be set from the environment: MAILSRV_DATA_DIR=/srv/mail.
Run by root, a command takes the identity of the data directory's owner.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version(),
	},
		p.serveCommand(), p.domainCommand(), p.mailboxCommand(), p.aliasCommand(), p.quotaCommand(),
		p.maildropCommand(), p.checkCommand(), p.configCommand(), p.reloadCommand(), p.sessionsCommand(), p.backupCommand(), p.restoreCommand(), p.versionCommand(), p.completionCommand(), p.manCommand(),
	)
	root.PersistentFlags().StringVar(&p.configFile, "config", "", "configuration `FILE`")
	root.Flags().BoolP("version", "v", false, "print the versions, as the command version does")
	root.SetVersionTemplate(versionText())
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(p.helpCommand())
	root.SetUsageTemplate(usageTemplate)
	root.InitDefaultHelpCmd()
	eachCommand(root, func(c *cobra.Command) error {
		c.Flags().BoolP("help", "h", false, "print this")
		return nil
	})
	return root
}

// usageTemplate ends every --help; it keeps to 80 columns.
const usageTemplate = `Usage:
  {{.UseLine}}{{if .HasAvailableSubCommands}}

Commands:{{range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{if .HasExample}}

Examples:
{{.Example}}{{end}}

Flags:
{{.Flags.FlagUsagesWrapped 79 | trimTrailingWhitespaces}}{{if .HasAvailableSubCommands}}

More about a command: {{.CommandPath}} COMMAND --help{{end}}
`

func (p *program) helpCommand() *cobra.Command {
	help := &cobra.Command{Use: "help [COMMAND]", Short: "Explain a command"}
	return p.command(help, cobra.ArbitraryArgs, func(_ context.Context, args []string) error {
		c, rest, err := help.Root().Find(args)
		if err != nil || len(rest) > 0 {
			return usage("unknown command %q: see: mailsrv --help", args[len(args)-max(1, len(rest))])
		}
		c.InitDefaultHelpFlag()
		return c.Help()
	})
}

func (p *program) completionCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print a script that completes commands in a shell",
		Long: `Prints a script that lets a shell complete commands and flags when the tab key
is pressed.`,
		Example: `  mailsrv completion bash > /etc/bash_completion.d/mailsrv
  mailsrv completion zsh > "${fpath[1]}/_mailsrv"
  mailsrv completion fish > ~/.config/fish/completions/mailsrv.fish`,
		ValidArgs: []string{"bash", "zsh", "fish"},
	}
	return p.command(c, exactly("bash, zsh or fish"), func(_ context.Context, args []string) error {
		switch args[0] {
		case "bash":
			return c.Root().GenBashCompletionV2(p.out, true)
		case "zsh":
			return c.Root().GenZshCompletion(p.out)
		case "fish":
			return c.Root().GenFishCompletion(p.out, true)
		}
		return usage("no completion for %q: write bash, zsh or fish", args[0])
	})
}
