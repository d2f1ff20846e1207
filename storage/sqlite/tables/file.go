package tables

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"mailsrv/storage"
)

// Offsets and values in the first page of a database
// (https://www.sqlite.org/fileformat2.html section 1.3).
const (
	headerMagic   = "SQLite format 3\x00"
	headerUser    = 60  // user_version, 4 octets
	headerApp     = 68  // application_id, 4 octets
	headerCells   = 103 // number of cells on the first page of the schema's tree, 2 octets
	headerOctets  = 108 // how many octets of the page are read
	headerVersion = 18  // 2: the database has a write-ahead log
)

// OpenFile opens the database file of a store for reading and writing, and verifies that it
// is one. It changes nothing in the file and creates nothing beside it. An empty file is
// accepted, unless path is a symbolic link. The caller closes the file. Errors:
// [fs.ErrNotExist], [storage.ErrForeign], [storage.ErrEarly], [storage.ErrLost] if the file
// is no database or its first page is damaged, or an unexpected one.
func OpenFile(path string) (*os.File, error) {
	// Only regular files are opened: opening a FIFO could block, and opening a device can
	// change it.
	info, err := os.Stat(path)
	if err != nil {
		return nil, danglingLink(path, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file: %w", path, storage.ErrForeign)
	}
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if err := identify(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// danglingLink returns storage.ErrForeign if path is a symbolic link that leads nowhere,
// else err. A file created at the end of such a link may belong to somebody else.
func danglingLink(path string, err error) error {
	if info, found := os.Lstat(path); found == nil && info.Mode().Type() == fs.ModeSymlink {
		return fmt.Errorf("%s is a link that leads nowhere: %w", path, storage.ErrForeign)
	}
	return err
}

// identify verifies by its first page that the file is a store, or an empty file. It
// returns the errors of OpenFile.
func identify(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	header := make([]byte, headerOctets)
	n, err := f.ReadAt(header, 0)
	switch {
	case !info.Mode().IsRegular():
		return storage.ErrForeign
	case err != nil && !errors.Is(err, io.EOF):
		return fmt.Errorf("%w: %w", err, storage.ErrLost)
	case n == 0:
		if named, err := os.Lstat(f.Name()); err != nil || named.Mode().Type() == fs.ModeSymlink {
			return errors.Join(fmt.Errorf("a link to an empty file: %w", storage.ErrForeign), err)
		}
		return nil
	case n < headerOctets || string(header[:len(headerMagic)]) != headerMagic:
		if begun(f.Name()) {
			return nil // SQLite makes it empty again
		}
		return fmt.Errorf("file is not a database, or %w", storage.ErrLost)
	}
	switch application := binary.BigEndian.Uint32(header[headerApp:]); {
	case application == ApplicationID:
		return nil
	case application == earlyApplicationID:
		return storage.ErrEarly
	case application == 0 && binary.BigEndian.Uint32(header[headerUser:]) == 0 &&
		header[headerVersion] == 2 && binary.BigEndian.Uint16(header[headerCells:]) == 0:
		return nil // the schema is still in the write-ahead log
	}
	return storage.ErrForeign
}

// journalMagic begins a rollback journal (https://www.sqlite.org/fileformat2.html section 3).
const journalMagic = "\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"

// begun reports whether the database at path has a rollback journal: only a new store has
// one, until its first page is written, and a power cut may have left any octets in that.
func begun(path string) bool {
	journal, err := os.OpenFile(path+"-journal", os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer journal.Close()
	magic := make([]byte, len(journalMagic))
	_, err = io.ReadFull(journal, magic)
	return err == nil && string(magic) == journalMagic
}
