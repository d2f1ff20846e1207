package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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

// Options are the settings with which [Open] opens a store.
type Options struct {
	// Path of the database file; empty: mailsrv.db in the data directory.
	Path string
	// Server takes the lock that only one server may hold on a data directory, breaks off
	// the transfers that an earlier server left unfinished, and frees space in the
	// background.
	Server bool
	// Exclusive takes the same lock without serving, as a repair needs it.
	Exclusive bool
	// Sound says that Rebuild has just found the pages sound: Check does not check them
	// again.
	Sound bool
	// MinFree is how many octets of the disk must stay free. Below it no mail is accepted.
	// 0: nothing is checked.
	MinFree int64
	// MaxStaged bounds the octets of transfers that are unfinished, or broken off and not
	// freed yet. 0: no limit.
	MaxStaged int64
	// Limit is the server's limit, for mailboxes that inherit it. MaxAside bounds the octets
	// of deleted mail that is kept aside. See [Store.KeepAside].
	Limit    quota.Limit
	MaxAside int64
	// AsItIs leaves an older schema as it is. The store can then be used only for Backup.
	AsItIs bool
	// Buffers lends the memory for messages; nil: the store makes a pool of 16 MiB.
	Buffers *buffers.Pool
	// Logger logs the store's condition; nil: nothing is logged.
	Logger *slog.Logger

	lookEvery time.Duration // commit.Options.LookEvery
	held      bool          // the caller holds the locks on the data directory
}

// path returns the path of the database.
func (o Options) path(dir string) (string, error) {
	if o.Path == "" {
		return filepath.Abs(filepath.Join(dir, "mailsrv.db"))
	}
	return filepath.Abs(o.Path)
}

// Store is the store on SQLite. It implements backend.Store. All methods are safe for
// concurrent use, but nothing may be in use when [Store.Close] is called.
type Store struct {
	options Options
	dir     string
	path    string
	buffers *buffers.Pool
	logger  *slog.Logger
	locks   db.Locks // none: the options ask for none
	// database is the open file, for syncing it. Closing any descriptor of the file ends
	// SQLite's locks on it, so this one is closed last.
	database *os.File
	schema   int64 // of the database; above ours if the database is newer and we may write
	readers  *db.Readers
	space    *commit.Space
	health   *commit.Health
	holders  *db.Holders
	cache    *cache
	upkeep   *upkeep
	engine   *commit.Engine
	staging  staging
	seen     atomic.Int64 // storage.ClockState.Seen, in Unix seconds
	aside    atomic.Pointer[asideBounds]
	claims   storage.LocalClaims
}

// Open opens the store in the data directory dir. It creates the directory and the database
// if they do not exist, and upgrades an older schema. It works with a newer schema if that
// allows it. The caller closes the store. Errors: [storage.ErrLocked] if Server or Exclusive
// is set and another process has the lock of the directory, [storage.ErrOccupied],
// [storage.ErrNewer], [storage.ErrEarly], [storage.ErrForeign], [storage.ErrCorrupt],
// [storage.ErrLost], or an unexpected one.
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
	// Create nothing beside a file that is no store of ours.
	if s.database, err = tables.OpenFile(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("database: %w", err)
	}
	if err := s.hold(); err != nil {
		s.closeFiles()
		return nil, err
	}
	if err := s.open(); err != nil {
		s.closeFiles()
		return nil, err
	}
	return s, nil
}

// closeFiles closes the database's file and releases the locks.
func (s *Store) closeFiles() {
	if s.database != nil {
		s.database.Close()
	}
	s.locks.Release()
}

// hold takes the locks that the options ask for.
func (s *Store) hold() (err error) {
	held := s.options.held
	if s.options.Server || s.options.Exclusive {
		if s.locks, err = db.LockStore(s.dir, s.path); err != nil {
			return err
		}
		s.options.held = true
	}
	if !held {
		shared, err := db.LockDatabase(s.path, unix.LOCK_SH)
		if err != nil {
			return err
		}
		s.locks = append(s.locks, shared)
	}
	return nil
}

// openFile opens or creates the database's file, unless it is open already. If a repair or a
// restore has replaced the file since it was opened, openFile opens the new one.
func (s *Store) openFile() error {
	for {
		if s.database != nil {
			opened, err := s.database.Stat()
			if err != nil {
				return err
			}
			if there, err := os.Stat(s.path); err == nil && os.SameFile(opened, there) {
				return nil
			}
			s.database.Close()
		}
		var err error
		// SQLite gives its other files the mode of this one.
		s.database, err = os.OpenFile(s.path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		if errors.Is(err, fs.ErrExist) {
			if s.database, err = tables.OpenFile(s.path); errors.Is(err, fs.ErrNotExist) {
				continue // it has just gone
			}
		}
		if err != nil {
			return fmt.Errorf("database: %w", err)
		}
	}
}

func (s *Store) open() error {
	if err := s.openFile(); err != nil {
		return err
	}
	// If a power cut loses the name of the database, all of it is lost.
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

// openDatabase opens the connection that writes, upgrades the schema, and breaks off the
// transfers that an earlier server left unfinished.
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
	if err == nil {
		err = s.recallClock(c)
	}
	if err != nil && !errors.Is(err, errOlder) {
		c.Close()
		return nil, fmt.Errorf("%s: %w", s.path, db.Named(err))
	}
	return c, nil
}

// Close commits the waiting changes and closes everything. Nothing of the store may be in
// use. When Close returns, a server that has the same store open sees every change.
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

// Failed returns a channel that is closed when the disk has failed to sync the database.
// What is read after that may be older than what was committed. The server must end; its
// next start finds everything that was committed.
func (s *Store) Failed() <-chan struct{} { return s.health.Failed() }

// Between calls f while this process has no transaction open that writes, and none begins
// before f has returned. It is for an f that stops this process, which must not hold the
// write lock meanwhile.
func (s *Store) Between(f func()) { s.engine.Between(f) }

// Accepting implements storage.Deliverer.
func (s *Store) Accepting() error { return s.health.Accepting() }

// edit commits what f does. It is for changes of anything but mail. f refuses by calling
// refuse with the reason; it must then have changed no row.
func (s *Store) edit(ctx context.Context, f func(c *db.Conn, refuse func(error)) error) error {
	change := &commit.Change{Effect: commit.Effect{Kind: commit.Edit}, Committed: s.cache.Forget}
	change.Apply = func(c *db.Conn) error { return f(c, func(err error) { change.Refusal = err }) }
	return s.engine.Do(ctx, change)
}

// Claim implements storage.Claims. Claims are kept in memory, since only one server uses a
// data directory.
func (s *Store) Claim(ctx context.Context, id mail.MailboxID, c storage.Claimant) (storage.Claim, error) {
	return s.claims.Claim(ctx, id, c)
}
