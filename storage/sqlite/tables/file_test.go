package tables

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"mailsrv/storage"
)

// A power cut while a store was made may leave any octets in its first page, with the
// journal from which SQLite makes it empty again: that is no other's file.
func TestFileOfAStoreThatWasBegun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.db")
	write := func(name string, octets []byte) {
		t.Helper()
		if err := os.WriteFile(name, octets, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	open := func() error {
		f, err := OpenFile(path)
		if err == nil {
			f.Close()
		}
		return err
	}
	write(path, make([]byte, 8192))
	if err := open(); !errors.Is(err, storage.ErrLost) {
		t.Errorf("without a journal: %v", err)
	}
	write(path+"-journal", []byte("something else"))
	if err := open(); !errors.Is(err, storage.ErrLost) {
		t.Errorf("with another file beside it: %v", err)
	}
	write(path+"-journal", append([]byte(journalMagic), make([]byte, 504)...))
	if err := open(); err != nil {
		t.Errorf("with its journal: %v", err)
	}
}
