package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"mailsrv/internal/admin"
	"mailsrv/internal/backend"
	"mailsrv/internal/config"
	"mailsrv/internal/directory"
)

// read reads the configuration from a file, or from the file that the search finds.
func (p *program) read(file string) (*config.Config, error) {
	c, err := config.Load(file, systemFile, p.env.variables, p.env.hostname)
	if err != nil {
		return nil, err
	}
	if err := backend.Known(c.Storage.URL); err != nil {
		return nil, fmt.Errorf("%s: storage.url: %w: write sqlite:PATH, or nothing for mailsrv.db in data_dir", c.Source(), err)
	}
	return c, nil
}

// load reads the configuration and prints warnings about it.
func (p *program) load() (*config.Config, error) {
	c, err := p.read(p.configFile)
	if err != nil {
		return nil, err
	}
	p.warn(c.Warnings...)
	return c, nil
}

// with opens the store, which a running server may also have open, calls do, and closes
// the store.
func (p *program) with(ctx context.Context, do func(a *admin.Admin) error) error {
	return p.work(ctx, mustExist, do)
}

// withNew is with for the command that may make the data directory.
func (p *program) withNew(ctx context.Context, do func(a *admin.Admin) error) error {
	return p.work(ctx, mayCreate, do)
}

func (p *program) work(ctx context.Context, create bool, do func(a *admin.Admin) error) error {
	c, err := p.load()
	if err != nil {
		return err
	}
	record := &recorder{open: p.env.syslog}
	logger := record.logger(p.env)
	store, err := p.open(ctx, c, backend.Options{Logger: logger}, create)
	if err != nil {
		return err
	}
	end := stopBetween(store, stopSelf)
	err = do(&admin.Admin{Directory: store, Store: store, Limit: c.Limit(), Logger: logger})
	end()
	if record.failed != nil {
		p.warn("nothing was recorded of this change, since the system's log does not take it: " + record.failed.Error())
	}
	if closed := store.Close(); err == nil && closed != nil {
		err = fmt.Errorf("close the database: %w", closed)
	}
	return explain(err, c)
}

// explain adds to err what to do, and where the command looked, if that can be the cause.
func explain(err error, c *config.Config) error {
	var advice *admin.Advice
	var wrong *usageError
	switch {
	case err == nil, errors.As(err, &wrong):
		return err
	case errors.As(err, &advice) && !errors.Is(err, directory.ErrNotFound):
		return err
	}
	return fmt.Errorf("%w (%s)", remedied(err), where(c))
}

func where(c *config.Config) string {
	return "data directory " + c.DataDir + ", " + c.Source()
}

// Whether open makes a missing data directory.
const (
	mustExist = false
	mayCreate = true
)

// open opens the store of a configuration under the identity of its owner.
func (p *program) open(ctx context.Context, c *config.Config, o backend.Options, create bool) (backend.Store, error) {
	if err := p.prepareDirectory(c, create); err != nil {
		return nil, err
	}
	o.DataDir = c.DataDir
	o.MinFree = c.Storage.MinFree
	o.MaxStaged = c.SMTP.MaxStaged
	o.Limit, o.MaxAside = c.Limit(), c.Storage.MaxAside
	store, err := backend.Open(ctx, c.Storage.URL, o)
	return store, storeError(err, c)
}

// storeError adds to err what to do about it, and where the store is.
func storeError(err error, c *config.Config) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: run this as root or as the user who owns the data (%s)", err, where(c))
	case err != nil:
		return fmt.Errorf("%w (%s)", remedied(err), where(c))
	}
	return nil
}

// prepareDirectory finds or makes the data directory and takes the identity of
// its owner.
func (p *program) prepareDirectory(c *config.Config, create bool) error {
	info, err := os.Stat(c.DataDir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !create:
		return fmt.Errorf("the data directory %s does not exist: begin with: mailsrv domain add DOMAIN, or set data_dir (%s)", c.DataDir, c.Source())
	case errors.Is(err, fs.ErrNotExist):
		if err := os.Mkdir(c.DataDir, 0o700); err != nil {
			return fmt.Errorf("the data directory cannot be made: %w: make it for the user who runs the server, or set data_dir (%s)", err, c.Source())
		}
		fmt.Fprintf(p.stderr, "mailsrv: made the data directory %s\n", c.DataDir)
		return nil
	case err != nil:
		return fmt.Errorf("data directory: %w (%s)", err, where(c))
	case !info.IsDir():
		return noFolder(c)
	}
	if err := becomeOwner(info); err != nil {
		return fmt.Errorf("%w (%s)", err, where(c))
	}
	return p.closeDatabase(c)
}

func noFolder(c *config.Config) error {
	return fmt.Errorf("data_dir %s is not a folder: set it to one (%s)", c.DataDir, c.Source())
}

// closeDatabase removes the database's permissions for everybody, which a copy made by hand
// may have: it holds mail and hashes, and SQLite gives its other files the same mode. The
// group's permissions are left to the administrator.
func (p *program) closeDatabase(c *config.Config) error {
	exposed, err := backend.Secure(c.Storage.URL, c.DataDir)
	for _, file := range exposed {
		p.warn(fmt.Sprintf("everybody could open %s, which holds mail and password hashes: its mode is 0600 now", file))
	}
	return storeError(err, c)
}

// exposed returns a warning if everybody can look into the data directory, as some
// packages make it. The mail in it cannot be opened, so the server may run all the same.
func exposed(c *config.Config) []string {
	info, err := os.Stat(c.DataDir)
	if err != nil || info.Mode().Perm()&0o007 == 0 {
		return nil
	}
	return []string{"everybody can look into the data directory: close it with: chmod o-rwx " + c.DataDir}
}
