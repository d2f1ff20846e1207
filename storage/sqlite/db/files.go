package db

import (
	"errors"
	"io/fs"
	"os"
)

// FilesOf returns the paths of the files that a database may have. The database's own is
// the last.
func FilesOf(path string) []string {
	return []string{path + "-wal", path + "-shm", path + "-journal", path}
}

// Remove removes a database and first the files that SQLite keeps beside it. Files that do
// not exist are no error.
func Remove(path string) error {
	for _, file := range FilesOf(path) {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// SyncPath syncs the file or directory at path to the disk.
func SyncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
