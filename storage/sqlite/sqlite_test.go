package sqlite_test

import (
	"context"
	"testing"

	"mailsrv/storage/sqlite"
	"mailsrv/storage/storagetest"
)

func open(t *testing.T, dir string, o sqlite.Options) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(context.Background(), dir, o)
	if err == nil {
		err = s.SkipFolders()
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestContract(t *testing.T) {
	for name, options := range map[string]sqlite.Options{
		"server":      {Server: true},
		"commandline": {},
	} {
		t.Run(name, func(t *testing.T) {
			storagetest.Run(t, func(t *testing.T, dir string) storagetest.Backend { return open(t, dir, options) })
		})
	}
}
