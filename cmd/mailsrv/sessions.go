package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mailsrv/internal/control"
)

func (p *program) sessionsCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "sessions COMMAND",
		Short: "The connections that the running server has open",
		Long: `Asks the server that runs on the data directory. For root and the user who runs
the server.`,
	}, p.sessionsList(), p.sessionsEnd())
}

func (p *program) sessionsList() *cobra.Command {
	c := &cobra.Command{
		Use:   "list [flags]",
		Short: "List the open sessions",
		Long: `Lists the open sessions, the oldest of each protocol first: who the client is
(its mailbox, or what a sender calls itself), for how long, and whether it is
silent.`,
		Example: "  mailsrv sessions list",
	}
	asJSON := jsonFlag(c)
	return p.command(c, exactly(), func(context.Context, []string) error {
		cfg, err := p.load()
		if err != nil {
			return err
		}
		all, err := control.Sessions(cfg.DataDir)
		if err != nil {
			return controlError(err, cfg)
		}
		if *asJSON {
			if all == nil {
				all = []control.Session{}
			}
			return p.printJSON(all)
		}
		if len(all) == 0 {
			p.printf("No session is open.\n")
			return nil
		}
		t := newTable("ID", "CLIENT", "WHO", "TLS", "FOR", "STATE")
		for _, n := range all {
			state, secure := "at work", "no"
			if n.Waiting {
				state = "waits"
			}
			if n.TLS != "" {
				secure, _, _ = strings.Cut(n.TLS, " ")
			}
			t.row(n.ID, n.Client.String(), n.Who, secure, time.Since(n.Since).Round(time.Second).String(), state)
		}
		t.write(p.out)
		return nil
	})
}

func (p *program) sessionsEnd() *cobra.Command {
	c := &cobra.Command{
		Use:   "end ID...",
		Short: "End open sessions",
		Long: `Ends sessions: one that waits for its client's next command hears why at once,
another when it has finished what it does, or is cut off after five seconds.
Nothing that was marked in a POP3 session is deleted.`,
		Example: "  mailsrv sessions end pop3-17",
	}
	return p.command(c, between(1, -1, "an ID"), func(_ context.Context, args []string) error {
		cfg, err := p.load()
		if err != nil {
			return err
		}
		for _, id := range args {
			found, err := control.EndSession(cfg.DataDir, id)
			switch {
			case err != nil:
				return controlError(err, cfg)
			case !found:
				return fmt.Errorf("there is no session %s: see: mailsrv sessions list", id)
			}
			p.printf("%s is being ended.\n", id)
		}
		return nil
	})
}
