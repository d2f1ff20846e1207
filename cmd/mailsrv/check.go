package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"mailsrv/internal/admin"
	"mailsrv/internal/backend"
	"mailsrv/internal/config"
	"mailsrv/storage"
)

func (p *program) checkCommand() *cobra.Command {
	repair, clockIsRight := false, false
	c := &cobra.Command{
		Use:   "check [flags]",
		Short: "Recount the stored mail and report what does not agree",
		Long: `Compares every counter, checksum and reference of the store with the rows it
stands for, and prints a line for each finding. It exits with 0 when there is
none, with 1 otherwise. It may run beside a server.

--repair mends what can be mended. It needs the store to itself: stop the
server first, and make a copy of the data directory. A database with damaged
pages is laid out anew from what can still be read; that needs as much free
space as it has, and keeps the old one beside it.

--clock-is-right does nothing else than to say so: after a clock stood more than
a day from where it was expected, mail is not removed because of its age until
the server has run for 24 hours.`,
		Example: `  mailsrv check
  systemctl stop mailsrv && mailsrv check --repair`,
	}
	c.Flags().BoolVar(&clockIsRight, "clock-is-right", false, "the clock is right: remove mail because of its age again")
	c.Flags().BoolVar(&repair, "repair", false, "mend what can be mended")
	c.MarkFlagsMutuallyExclusive("repair", "clock-is-right")
	return p.command(c, exactly(), func(ctx context.Context, _ []string) error {
		if clockIsRight {
			return p.with(ctx, func(a *admin.Admin) error {
				now := time.Now()
				if err := a.ConfirmClock(ctx, now); err != nil {
					return err
				}
				p.printf("It is %s: mail is removed because of its age again, within the hour.\n", now.Format(time.DateTime))
				return nil
			})
		}
		cfg, err := p.load()
		if err != nil {
			return err
		}
		p.warn(exposed(cfg)...)
		findings := 0
		report := func(finding storage.Finding) {
			findings++
			p.printf("%s\n", advised(finding))
			p.out.Flush()
		}
		sound := false
		if repair {
			if sound, err = p.rebuild(ctx, cfg, report); err != nil {
				return err
			}
		}
		store, err := p.open(ctx, cfg, backend.Options{Exclusive: repair, Sound: sound}, mustExist)
		if err != nil {
			return err
		}
		remaining, err := store.Check(ctx, repair, report)
		if closed := store.Close(); err == nil {
			err = closed
		}
		switch {
		case err != nil:
			return fmt.Errorf("check: %w (%s)", remedied(err), where(cfg))
		case remaining > 0 && repair:
			return fmt.Errorf("%s could not be mended: restore from a backup, or go on without that mail (%s)",
				plural(int64(remaining), "finding", "findings"), where(cfg))
		case remaining > 0:
			return errors.New(plural(int64(remaining), "finding", "findings") +
				": stop the server, copy the data directory, and run: mailsrv check --repair (" + where(cfg) + ")")
		case findings > 0:
			p.printf("Mended: everything agrees now.\n")
		default:
			p.printf("Everything agrees.\n")
		}
		return nil
	})
}

// rebuild writes a database with damaged pages anew. A signal ends it and leaves no file
// behind; a second signal ends it at once.
func (p *program) rebuild(ctx context.Context, cfg *config.Config, report func(storage.Finding)) (sound bool, err error) {
	if err := p.prepareDirectory(cfg, mustExist); err != nil {
		return false, err
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	sound, err = backend.Rebuild(ctx, cfg.Storage.URL, backend.Options{DataDir: cfg.DataDir}, report)
	return sound, storeError(err, cfg)
}
