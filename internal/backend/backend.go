// Package backend opens a store by its URL ([Open]). It is the only package that knows
// the drivers. What some stores can do beside the contract is in small interfaces, such
// as [Backuper], that callers ask a [Store] for.
//
// "" and "sqlite:PATH" are a database of SQLite, by default mailsrv.db in the data
// directory. "postgres://…" is reserved for PostgreSQL, which is not built yet.
package backend

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"mailsrv/internal/buffers"
	"mailsrv/internal/directory"
	"mailsrv/quota"
	"mailsrv/storage"
	"mailsrv/storage/sqlite"
)

// ErrURL: the URL is of no known kind of store. The text does not have the URL, which may
// have a password in it.
var ErrURL = errors.New("this build knows sqlite alone")

// Store is what every store can do.
type Store interface {
	storage.Deliverer
	storage.Maildrops
	storage.Claims
	storage.Undeleter
	storage.Collector
	storage.Clock
	storage.Checker
	directory.Directory
	// Close commits what is queued and closes the store. No other call may be under way.
	io.Closer
}

// Backuper is a store that can write itself into one file.
type Backuper interface {
	// Backup writes a copy of the whole store, as it is at one moment, into a new file.
	// It calls progress with the octets copied so far and in total. Errors: fs.ErrExist
	// if the file exists; storage.ErrBackup if another backup is writing it; or an
	// unexpected one.
	Backup(ctx context.Context, file string, progress func(done, total int64)) error
}

// Failer is a store that may fail so that the server has to be restarted.
type Failer interface {
	// Failed returns a channel that is closed when reads may no longer return what was
	// committed. After a restart they do.
	Failed() <-chan struct{}
}

// Keeper is a store that bounds what it keeps aside of deleted mail.
type Keeper interface {
	// KeepAside sets the limit that mailboxes inherit, and the octets that all may have
	// aside together; 0: a tenth of the disk. It counts from the next removal on.
	KeepAside(server quota.Limit, total int64)
}

// Stopper is a store that other processes wait for, so that one that stops must not stop
// within a transaction.
type Stopper interface {
	// Between calls f while no transaction that writes is open, and none begins before it
	// has returned.
	Between(f func())
}

var (
	_ Stopper  = (*sqlite.Store)(nil)
	_ Keeper   = (*sqlite.Store)(nil)
	_ Store    = (*sqlite.Store)(nil)
	_ Backuper = (*sqlite.Store)(nil)
	_ Failer   = (*sqlite.Store)(nil)
)

// Options of [Open], [Rebuild] and [Restore].
type Options struct {
	DataDir string // absolute
	// Server takes the lock of the data directory, for its one server.
	Server bool
	// Exclusive takes that lock without serving, for a repair.
	Exclusive bool
	// Sound says that Rebuild has just found the pages sound, so that Check skips them.
	Sound bool
	// AsItIs does not upgrade an older schema. The store can then only be backed up.
	AsItIs    bool
	MinFree   int64         // octets of the disk below which no mail is accepted; 0: none
	MaxStaged int64         // octets of unfinished transfers; 0: no limit
	Limit     quota.Limit   // the server's, as Keeper takes it
	MaxAside  int64         // octets kept aside, as Keeper takes them
	Buffers   *buffers.Pool // lends the memory for messages; nil: a small pool
	Logger    *slog.Logger  // gets the store's condition; nil: it is not logged
}

func (o Options) sqlite(path string) sqlite.Options {
	return sqlite.Options{
		Path: path, Server: o.Server, Exclusive: o.Exclusive, Sound: o.Sound, AsItIs: o.AsItIs,
		MinFree: o.MinFree, MaxStaged: o.MaxStaged, Limit: o.Limit, MaxAside: o.MaxAside, Buffers: o.Buffers, Logger: o.Logger,
	}
}

// Open opens the store of a URL. It makes the store if there is none, and upgrades an
// older schema. The caller closes it. Errors: [ErrURL]; storage.ErrLocked if Server or
// Exclusive is set and another process has the lock; the other errors of package storage
// for opening; or an unexpected one.
func Open(ctx context.Context, url string, o Options) (Store, error) {
	path, err := pathOf(url)
	if err != nil {
		return nil, err
	}
	s, err := sqlite.Open(ctx, o.DataDir, o.sqlite(path))
	if err != nil {
		return nil, err // not s: a Store with a nil pointer in it is not nil
	}
	return s, nil
}

// Known returns [ErrURL] if [Open] would, else nil.
func Known(url string) error {
	_, err := pathOf(url)
	return err
}

// Rebuild replaces a store that has damaged pages by one made from what can still be read,
// and reports each loss. If all pages are sound it returns true and changes nothing.
// Nothing else may use the store: storage.ErrLocked, storage.ErrOccupied.
func Rebuild(ctx context.Context, url string, o Options, report func(storage.Finding)) (sound bool, err error) {
	path, err := pathOf(url)
	if err != nil {
		return false, err
	}
	return sqlite.Rebuild(ctx, o.DataDir, o.sqlite(path), report)
}

// Restore makes a store of a backup, in a data directory without one. It checks the
// backup first, reports each finding, and fails if there is one. After an error the data
// directory is as before. The caller closes the file.
func Restore(ctx context.Context, url string, o Options, file *os.File, progress func(done, total int64), report func(storage.Finding)) error {
	path, err := pathOf(url)
	if err != nil {
		return err
	}
	return sqlite.Restore(ctx, o.DataDir, o.sqlite(path), file, progress, report)
}

// Secure makes the files of a store private to their owner, and returns those that
// others could open. A file that is no store of ours is not changed; the error is then
// as of [Open].
func Secure(url, dataDir string) (exposed []string, err error) {
	path, err := pathOf(url)
	if err != nil {
		return nil, err
	}
	if path == "" {
		path = filepath.Join(dataDir, "mailsrv.db")
	}
	return sqlite.Secure(path)
}

// Versions returns names and versions of the libraries that the stores use.
func Versions() string { return "SQLite " + sqlite.Version() }

// pathOf returns the path of the database that a URL names; "": the one in the data
// directory.
func pathOf(url string) (string, error) {
	path, ok := strings.CutPrefix(url, "sqlite:")
	if url != "" && (!ok || path == "") {
		return "", ErrURL
	}
	return path, nil
}
