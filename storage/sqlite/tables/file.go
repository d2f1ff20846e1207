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

// Of the first page of a database (https://www.sqlite.org/fileformat2.html section 1.3).
const (
	headerMagic   = "SQLite format 3\x00"
	headerUser    = 60  // user_version, 4 octets
	headerApp     = 68  // application_id, 4 octets
	headerCells   = 103 // of the schema's tree: how many cells its page has, 2 octets
	headerOctets  = 108
	headerVersion = 18 // 2: with a write-ahead log
)

// OpenFile opens the file of a store for reading and writing, once it has looked whether
// it is one: nothing is made beside it or changed about it. An empty file becomes a store,
// unless a link leads there. fs.ErrNotExist, storage.ErrForeign, storage.ErrEarly, and
// storage.ErrLost where it is no database at all, or its first page is damaged. The caller
// closes it.
func OpenFile(path string) (*os.File, error) {
	// Nothing else is opened that waits for another end, or that being opened changes.
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

// danglingLink is err, or storage.ErrForeign where path is a link that leads nowhere: what
// is made at its end may not be for us.
func danglingLink(path string, err error) error {
	if info, found := os.Lstat(path); found == nil && info.Mode().Type() == fs.ModeSymlink {
		return fmt.Errorf("%s is a link that leads nowhere: %w", path, storage.ErrForeign)
	}
	return err
}

// identify says whose file it is by its first page.
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
		return fmt.Errorf("file is not a database, or %w", storage.ErrLost)
	}
	switch application := binary.BigEndian.Uint32(header[headerApp:]); {
	case application == ApplicationID:
		return nil
	case application == earlyApplicationID:
		return storage.ErrEarly
	case application == 0 && binary.BigEndian.Uint32(header[headerUser:]) == 0 &&
		header[headerVersion] == 2 && binary.BigEndian.Uint16(header[headerCells:]) == 0:
		return nil // what was begun stands in its log
	}
	return storage.ErrForeign
}
