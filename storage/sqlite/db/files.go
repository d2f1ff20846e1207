package db

import (
	"errors"
	"io/fs"
	"os"
)

// FilesOf are the files of a database, itself the last.
func FilesOf(path string) []string {
	return []string{path + "-wal", path + "-shm", path + "-journal", path}
}

// Remove removes a database, if it is there, after what SQLite keeps beside it.
func Remove(path string) error {
	for _, file := range FilesOf(path) {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// SyncPath makes what a file, or a folder of names, holds durable.
func SyncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
