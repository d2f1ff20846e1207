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
			storagetest.Run(t, storagetest.Hooks{
				Open: func(t *testing.T, dir string, l storagetest.Limits) storagetest.Backend {
					o := options
					o.MinFree, o.MaxStaged, o.Buffers, o.Limit, o.MaxAside = l.MinFree, l.MaxStaged, l.Buffers, l.Limit, l.MaxAside
					return open(t, dir, o)
				},
				Damage: func(t *testing.T, b storagetest.Backend) {
					const flip = " SET data = CAST('X' || substr(data, 2) AS BLOB) WHERE data IS NOT NULL; "
					if err := b.(*sqlite.Store).Damage("UPDATE body" + flip + "UPDATE chunk" + flip); err != nil {
						t.Fatal(err)
					}
				},
				ReadOnly: func(_ *testing.T, b storagetest.Backend) { b.(*sqlite.Store).GiveUpWriting() },
			})
		})
	}
}
