package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"mailsrv/internal/config"
	"mailsrv/internal/listen"
)

func (p *program) configCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "config COMMAND",
		Short: "The configuration of the server",
		Long: `The configuration is one YAML file and the environment; see "mailsrv --help" for
where it is looked for.`,
	}, p.configCheck())
}

func (p *program) configCheck() *cobra.Command {
	c := &cobra.Command{
		Use:   "check",
		Short: "Say whether the server can start or reload with it",
		Long: `Reads configuration, certificate and key as the server would, changes nothing
and tells a running server nothing. It prints what was read and exits with 0, or
says what is wrong and exits with 1.

Run by root, it reads as the owner of the data directory, since that is who the
server is when it reloads.`,
		Example: `  mailsrv config check
  mailsrv config check --config new.yaml`,
	}
	return p.command(c, exactly(), func(context.Context, []string) error {
		cfg, err := p.read(p.configFile)
		if err != nil {
			return err
		}
		if cfg, err = p.asOwner(cfg); err != nil {
			return err
		}
		p.warn(append(cfg.Warnings, advice(cfg)...)...)
		c, err := existingCertificate(cfg)
		if err != nil {
			return fmt.Errorf("%w (%s)", err, cfg.Source())
		}
		if c.bad != nil {
			p.warn(fmt.Sprintf("%s (%v)", madeNew, c.bad))
		}
		p.printf("ok: %s\n", cfg.Source())
		if c.pair != nil {
			p.printf("    certificate %s, valid until %s\n", c.file, untilText(c.pair.Leaf.NotAfter))
			if c.endsSoon() {
				p.warn(endsSoon)
			}
		}
		return nil
	})
}

// asOwner takes the identity of the data directory's owner, if the directory exists, and
// reads the configuration once more.
func (p *program) asOwner(cfg *config.Config) (*config.Config, error) {
	info, err := os.Stat(cfg.DataDir)
	if err != nil || os.Geteuid() != 0 {
		return cfg, nil // a directory that cannot be read is reported at the start
	}
	if !info.IsDir() {
		return nil, noFolder(cfg)
	}
	if err := becomeOwner(info); err != nil {
		return nil, fmt.Errorf("%w (%s)", err, where(cfg))
	}
	if cfg.File == "" {
		return cfg, nil
	}
	return p.read(cfg.File)
}

// existingCertificate is readCertificate, but makes no certificate.
func existingCertificate(cfg *config.Config) (certificate, error) {
	if cfg.TLS.CertFile == "" {
		for _, name := range listen.SelfSignedNames {
			if _, err := os.Stat(filepath.Join(cfg.DataDir, name)); err != nil {
				return certificate{}, nil
			}
		}
		if bad := listen.BadSelfSigned(cfg.DataDir); bad != nil {
			return certificate{bad: bad}, nil
		}
	}
	return readCertificate(cfg)
}
