package sqlite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"mailsrv/internal/buffers"
	"mailsrv/internal/logs"
	"mailsrv/internal/mail"
	"mailsrv/quota"
	"mailsrv/storage"
	"mailsrv/storage/sqlite/commit"
	"mailsrv/storage/sqlite/db"
	"mailsrv/storage/sqlite/tables"
)

// Options of a store.
type Options struct {
	// Path of the database file; empty: mailsrv.db in the data directory.
	Path string
	// Server takes the lock that only one server may hold on a data directory,
	// sweeps what earlier transfers left behind, and frees space in the
	// background.
	Server bool
	// Exclusive takes the same lock without serving, as a repair needs it.
	Exclusive bool
	// Sound says that Rebuild has just found the pages sound: Check takes its word.
	Sound bool
	// MinFree is how much of the disk stays free, in octets; below it no mail
	// is accepted. 0 checks nothing.
	MinFree int64
	// MaxStaged bounds the content of transfers that are unfinished, or broken off and
	// not free yet, in octets; 0 is no limit.
	MaxStaged int64
	// Limit is the server's, for mailboxes that inherit, and MaxAside bounds what is kept
	// aside of deleted mail, in octets: as KeepAside takes them.
	Limit    quota.Limit
	MaxAside int64
	// AsItIs leaves an older schema as it is. The store is then for Backup alone.
	AsItIs bool
	// Buffers lends the memory for messages; nil makes a pool of 16 MiB.
	Buffers *buffers.Pool
	// Logger hears of the store's condition; nil discards.
	Logger *slog.Logger

	lookEvery time.Duration // commit.Options.LookEvery
	held      bool          // the caller holds the locks on the data directory
}

// path is where the database is.
func (o Options) path(dir string) (string, error) {
	if o.Path == "" {
		return filepath.Abs(filepath.Join(dir, "mailsrv.db"))
	}
	return filepath.Abs(o.Path)
}

// Store is the store on SQLite: all that backend.Store asks for. All methods are safe for concurrent use.
type Store struct {
	options Options
	dir     string
	path    string
	buffers *buffers.Pool
	logger  *slog.Logger
	locks   db.Locks // none: not asked for
	// database is the file, for syncing it. SQLite's locks on it end when any
	// descriptor of the process is closed, so it is closed last.
	database *os.File
	schema   int64 // of the database: higher than ours where we may write all the same
	readers  *db.Readers
	space    *commit.Space
	health   *commit.Health
	holders  *db.Holders
	cache    *cache
	upkeep   *upkeep
	engine   *commit.Engine
	staging  staging
	aside    atomic.Pointer[asideBounds]
	claims   storage.LocalClaims
}

// Open opens the store in the data directory dir, making both where they are
// missing, and upgrading an older schema. A newer one is written to where it allows
// that. Errors: storage.ErrLocked if Server or
// Exclusive is asked for and another process holds the directory, ErrOccupied,
// ErrNewer, ErrEarly, ErrForeign, ErrCorrupt, ErrLost.
func Open(ctx context.Context, dir string, o Options) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	path, err := o.path(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{options: o, dir: dir, path: path, buffers: o.Buffers, logger: o.Logger}
	if s.buffers == nil {
		s.buffers = buffers.NewPool(16<<20, 30*time.Second)
	}
	if s.logger == nil {
		s.logger = logs.Discard()
	}
	if o.Server || o.Exclusive {
		if s.locks, err = db.LockStore(dir, path); err != nil {
			return nil, err
		}
		s.options.held = true
	}
	if !o.held {
		shared, err := db.LockDatabase(path, unix.LOCK_SH)
		if err != nil {
			s.locks.Release()
			return nil, err
		}
		s.locks = append(s.locks, shared)
	}
	if err := s.open(); err != nil {
		if s.database != nil {
			s.database.Close()
		}
		s.locks.Release()
		return nil, err
	}
	return s, nil
}

func (s *Store) open() error {
	// SQLite gives its other files the mode of this one.
	var err error
	if s.database, err = os.OpenFile(s.path, os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return fmt.Errorf("database: %w", err)
	}
	// A database whose name is lost in a power cut is lost whole.
	if err := db.SyncPath(filepath.Dir(s.path)); err != nil {
		return fmt.Errorf("sync the data directory: %w", err)
	}
	s.KeepAside(s.options.Limit, s.options.MaxAside)
	s.readers = db.NewReaders(s.path, 2*runtime.GOMAXPROCS(0)+2)
	s.space = commit.NewSpace(s.path, s.options.MinFree, s.options.Server, s.readers, s.logger)
	s.holders = db.NewHolders(s.path)
	s.health = commit.NewHealth(s.space, s.logger)
	c, err := s.openDatabase()
	for db.IsFull(err) && s.space.UseReserve() {
		c, err = s.openDatabase()
	}
	if err != nil {
		return err
	}
	s.staging.most = s.options.MaxStaged
	s.cache, s.upkeep = newCache(), newUpkeep(s)
	o := commit.Options{Database: s.database, Conn: c, Space: s.space, Health: s.health, Cache: s.cache, Holders: s.holders, LookEvery: s.options.lookEvery, Logger: s.logger}
	if s.options.Server {
		s.space.Check()
		o.Upkeep = s.upkeep
	}
	s.engine = commit.New(o)
	s.cache.ask, s.upkeep.engine = s.engine.AskLease, s.engine
	s.engine.Start()
	if s.options.Server {
		s.upkeep.addBroken(s.staging.octets())
	}
	return nil
}

// openDatabase opens the writing connection, brings the schema up to date, and breaks
// off the transfers that an earlier server left unfinished.
func (s *Store) openDatabase() (c *db.Conn, err error) {
	if c, err = db.OpenWriter(s.path, s.space.AutoCheckpoint()); err != nil {
		return nil, db.Named(err)
	}
	if s.schema, err = tables.Current.Migrate(c, s.beforeUpgrade); err == nil && s.options.Server {
		var chunks int64
		if chunks, err = tables.BreakOffAll(c); err == nil {
			s.staging = staging{}
			s.staging.found(chunks * buffers.Max)
		}
	}
	if err != nil && !errors.Is(err, errOlder) {
		c.Close()
		return nil, fmt.Errorf("%s: %w", s.path, db.Named(err))
	}
	return c, nil
}

// Close commits what waits and closes everything. Nothing may be in use. When it
// returns, a server that has the same store open knows of every change.
func (s *Store) Close() error {
	err := s.engine.Close()
	if !s.options.Server && s.engine.Wrote() {
		time.Sleep(lease)
	}
	s.readers.Close()
	s.holders.Close()
	s.database.Close()
	s.locks.Release()
	return err
}

// Failed is closed when the disk has failed to sync the database. What is read since
// may be of another moment: the server must end, and find everything at its next start.
func (s *Store) Failed() <-chan struct{} { return s.health.Failed() }

// Between calls f while no transaction that writes is open, and none begins before it has
// returned: what stops this process must not keep others waiting for the lock.
func (s *Store) Between(f func()) { s.engine.Between(f) }

// Accepting implements storage.Deliverer.
func (s *Store) Accepting() error { return s.health.Accepting() }

// edit commits what f does, for a change of anything but mail. refuse takes the reason
// for which f has left every row as it was.
func (s *Store) edit(ctx context.Context, f func(c *db.Conn, refuse func(error)) error) error {
	change := &commit.Change{Effect: commit.Effect{Kind: commit.Edit}, Committed: s.cache.Forget}
	change.Apply = func(c *db.Conn) error { return f(c, func(err error) { change.Refusal = err }) }
	return s.engine.Do(ctx, change)
}

// Claim implements storage.Claims. One server alone has a data directory, so that
// claims live in its memory.
func (s *Store) Claim(ctx context.Context, id mail.MailboxID, c storage.Claimant) (storage.Claim, error) {
	return s.claims.Claim(ctx, id, c)
}
