// Package backend opens a store by its URL. It is the one room that knows drivers:
// what a store can do beside the contract are small interfaces, which the command line
// asks for.
//
// "" and "sqlite:PATH" are a database of SQLite, by default mailsrv.db in the data
// directory. "postgres://…" is kept for PostgreSQL, which is not built yet.
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

// ErrURL says that no store is known of this kind. It does not repeat the URL, which may
// hold a password.
var ErrURL = errors.New("this build knows sqlite alone")

// Store is what every store can do.
type Store interface {
	storage.Deliverer
	storage.Maildrops
	storage.Claims
	storage.Undeleter
	storage.Collector
	storage.Checker
	directory.Directory
	// Close commits what waits and closes everything. Nothing may be in use.
	io.Closer
}

// Backuper is a store that can write itself into one file.
type Backuper interface {
	// Backup writes a copy of the whole store into a new file, as it stands at one
	// moment. progress hears how many octets of how many have been copied. fs.ErrExist
	// if the file is there; storage.ErrBackup if another backup is on its way there.
	Backup(ctx context.Context, file string, progress func(done, total int64)) error
}

// Failer is a store that may come to a state in which the server must end.
type Failer interface {
	// Failed is closed when what is read may not be what was committed: the next start
	// finds everything.
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

// Options of opening a store.
type Options struct {
	DataDir string // absolute
	// Server is for the one server of a data directory.
	Server bool
	// Exclusive keeps servers away without serving, as a repair needs it.
	Exclusive bool
	// Sound says that Rebuild has just found the pages sound: Check takes its word.
	Sound bool
	// AsItIs leaves an older schema as it is. The store is then for Backup alone.
	AsItIs    bool
	MinFree   int64         // octets of the disk below which no mail is accepted; 0: none
	MaxStaged int64         // octets of unfinished transfers; 0: no limit
	Limit     quota.Limit   // the server's, as Keeper takes it
	MaxAside  int64         // octets kept aside, as Keeper takes them
	Buffers   *buffers.Pool // lends the memory for messages; nil: a small one
	Logger    *slog.Logger  // hears of the store's condition; nil: nobody
}

func (o Options) sqlite(path string) sqlite.Options {
	return sqlite.Options{
		Path: path, Server: o.Server, Exclusive: o.Exclusive, Sound: o.Sound, AsItIs: o.AsItIs,
		MinFree: o.MinFree, MaxStaged: o.MaxStaged, Limit: o.Limit, MaxAside: o.MaxAside, Buffers: o.Buffers, Logger: o.Logger,
	}
}

// Open opens the store of a URL, making what is missing and upgrading an older schema.
// ErrURL; storage.ErrLocked if Server or Exclusive is asked for and another process
// holds the store, and the other errors of opening.
func Open(ctx context.Context, url string, o Options) (Store, error) {
	path, err := pathOf(url)
	if err != nil {
		return nil, err
	}
	s, err := sqlite.Open(ctx, o.DataDir, o.sqlite(path))
	if err != nil {
		return nil, err // and no Store that holds a nil one
	}
	return s, nil
}

// Known returns ErrURL where Open would.
func Known(url string) error {
	_, err := pathOf(url)
	return err
}

// Rebuild lays a store with damaged pages out anew from what can still be read, and
// reports each loss; a sound one it leaves as it is, and says so. It needs the store to
// itself.
func Rebuild(ctx context.Context, url string, o Options, report func(storage.Finding)) (sound bool, err error) {
	path, err := pathOf(url)
	if err != nil {
		return false, err
	}
	return sqlite.Rebuild(ctx, o.DataDir, o.sqlite(path), report)
}

// Restore puts a backup where no store is yet, after recounting all of it; findings are
// reported and refuse it. After an error all is as it was. The caller closes the file.
func Restore(ctx context.Context, url string, o Options, file *os.File, progress func(done, total int64), report func(storage.Finding)) error {
	path, err := pathOf(url)
	if err != nil {
		return err
	}
	return sqlite.Restore(ctx, o.DataDir, o.sqlite(path), file, progress, report)
}

// Files are the files that the store of a URL consists of, whether they are there or not.
func Files(url, dataDir string) []string {
	path, err := pathOf(url)
	if err != nil {
		return nil
	}
	if path == "" {
		path = filepath.Join(dataDir, "mailsrv.db")
	}
	return []string{path, path + "-wal", path + "-shm"}
}

// Versions names the parts of others that stores are built on, and their versions.
func Versions() string { return "SQLite " + sqlite.Version() }

// pathOf returns the database that a URL names; "": the one in the data directory.
func pathOf(url string) (string, error) {
	path, ok := strings.CutPrefix(url, "sqlite:")
	if url != "" && (!ok || path == "") {
		return "", ErrURL
	}
	return path, nil
}
