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

// read reads the configuration from a file, or from where the search finds it.
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

// load reads the configuration and prints what is odd about it.
func (p *program) load() (*config.Config, error) {
	c, err := p.read(p.configFile)
	if err != nil {
		return nil, err
	}
	p.warn(c.Warnings...)
	return c, nil
}

// with opens the store beside a server that may be running, lets do work on
// it, and closes it.
func (p *program) with(ctx context.Context, do func(a *admin.Admin) error) error {
	return p.work(ctx, mustExist, do)
}

// withNew is with for the command that begins a data directory.
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

// explain adds what to do, and where a command looked, when that can be why it failed.
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

// storeError says what to do about err, and where the store is that it is about.
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

// closeDatabase takes from everybody what a copy made by hand gave: the database
// holds mail and hashes, and SQLite gives its other files the same mode. What a
// group may do is left to the administrator.
func (p *program) closeDatabase(c *config.Config) error {
	for _, file := range backend.Files(c.Storage.URL, c.DataDir) {
		info, err := os.Stat(file)
		if err != nil || info.Mode().Perm()&0o007 == 0 {
			continue // one that cannot be looked at is told of when it is opened
		}
		if err := os.Chmod(file, 0o600); err != nil {
			return fmt.Errorf("everybody can open the database: %w: close it with: chmod 600 %s", err, file)
		}
		p.warn(fmt.Sprintf("everybody could open %s, which holds mail and password hashes: its mode is 0600 now", file))
	}
	return nil
}

// exposed warns of a data directory that everybody can look into, as some packages
// make them. No mail in it can be opened, so that it may serve all the same.
func exposed(c *config.Config) []string {
	info, err := os.Stat(c.DataDir)
	if err != nil || info.Mode().Perm()&0o007 == 0 {
		return nil
	}
	return []string{"everybody can look into the data directory: close it with: chmod o-rwx " + c.DataDir}
}
