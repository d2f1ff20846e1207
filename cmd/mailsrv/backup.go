package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"mailsrv/internal/backend"
	"mailsrv/internal/config"
	"mailsrv/quota"
	"mailsrv/storage"
)

func (p *program) backupCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "backup FILE",
		Short: "Copy all mail, mailboxes and settings of the store into one file",
		Long: `Writes a copy of the whole store into a new file: domains, mailboxes with their
password hashes, aliases and all mail, as they stand at one moment. The server
may run meanwhile; it is not held up. The file is as secret as the store. What
an older version wrote is copied as it is.

The configuration file and the TLS key are not in it. Run by root, the command
takes the identity of the data directory's owner, who must be able to write to
the folder.`,
		Example: `  install -d -o mailsrv -g mailsrv -m 700 /var/backups/mailsrv
  mailsrv backup /var/backups/mailsrv/$(date +%F).db`,
	}
	return p.command(c, exactly("a FILE"), func(ctx context.Context, args []string) error {
		cfg, file, err := p.loadWith(args[0])
		if err != nil {
			return err
		}
		store, err := p.open(ctx, cfg, backend.Options{AsItIs: true}, mustExist)
		if err != nil {
			return err
		}
		bar := p.progress("Copied")
		if b, ok := store.(backend.Backuper); ok {
			err = b.Backup(ctx, file, bar.show)
		} else {
			err = errors.New("this store is backed up with the tools of its database")
		}
		bar.end()
		if closed := store.Close(); err == nil {
			err = closed
		}
		switch {
		case errors.Is(err, fs.ErrExist):
			return fmt.Errorf("%s exists already: choose another name, a backup overwrites nothing", file)
		case errors.Is(err, fs.ErrPermission):
			return fmt.Errorf("backup: %w: choose a folder that the owner of the data directory may write to (%s)", err, where(cfg))
		case err != nil:
			return fmt.Errorf("backup: %w (%s)", remedied(err), where(cfg))
		}
		p.printf("%s holds the store as it was when the backup began (%s).\n", file, quota.FormatSize(bar.total))
		return nil
	})
}

// loadWith loads the configuration and returns file as an absolute path, before anything
// changes the working directory or the identity.
func (p *program) loadWith(file string) (*config.Config, string, error) {
	cfg, err := p.load()
	if err != nil {
		return nil, "", err
	}
	path, err := filepath.Abs(file)
	return cfg, path, err
}

func (p *program) restoreCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "restore FILE",
		Short: "Put a backup into an empty data directory",
		Long: `Copies a backup into an empty data directory and recounts all of it before it
counts. Nothing is overwritten: to go back to a backup, stop the server and move
the old data directory away first.

Every message keeps its UIDL, so that clients which leave mail on the server
download nothing twice.`,
		Example: `  systemctl stop mailsrv
  mv /var/lib/mailsrv /var/lib/mailsrv.old
  install -d -o mailsrv -g mailsrv -m 700 /var/lib/mailsrv
  mailsrv restore /var/backups/mailsrv/2026-11-20.db
  systemctl start mailsrv`,
	}
	return p.command(c, exactly("a FILE"), func(ctx context.Context, args []string) error {
		cfg, file, err := p.loadWith(args[0])
		if err != nil {
			return err
		}
		// Opened before the identity changes: only root may read root's backups.
		from, err := os.Open(file)
		if err != nil {
			return fmt.Errorf("restore: %w", err)
		}
		defer from.Close()
		if err := p.prepareDirectory(cfg, mayCreate); err != nil {
			return err
		}
		bar := p.progress("Copied")
		err = backend.Restore(ctx, cfg.Storage.URL, backend.Options{DataDir: cfg.DataDir}, from, bar.show, func(finding storage.Finding) {
			p.printf("%s\n", finding)
		})
		bar.end()
		if err != nil {
			return fmt.Errorf("restore: %w (%s)", remedied(err), where(cfg))
		}
		p.printf("%s is restored and agrees with itself. Now the server may be started.\n", file)
		return nil
	})
}

// bar shows progress on a terminal, and nothing elsewhere.
type bar struct {
	p           *program
	verb        string
	shown       bool
	done, total int64
	percent     int64
}

func (p *program) progress(verb string) *bar { return &bar{p: p, verb: verb, percent: -1} }

func (b *bar) show(done, total int64) {
	b.done, b.total = done, total
	percent := done * 100 / max(total, 1)
	if !isTerminal(b.p.stderr) || percent == b.percent {
		return
	}
	b.percent, b.shown = percent, true
	const width = 30
	filled := int(percent * width / 100)
	fmt.Fprintf(b.p.stderr, "\r%s [%s%s] %3d%% of %s ", b.verb,
		strings.Repeat("#", filled), strings.Repeat("-", width-filled), percent, quota.FormatSize(total))
}

func (b *bar) end() {
	if b.shown {
		fmt.Fprintln(b.p.stderr)
	}
}
