package backup

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailsrv/storage/sqlite/db"
)

// Who may write into the folder of a backup cannot lead it elsewhere, whether he puts a
// link there before SQLite opens the file or another file while it copies.
func TestBackupIsLedNowhere(t *testing.T) {
	source, err := db.Open(filepath.Join(t.TempDir(), "s.db"), db.ReaderCacheKiB)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	if err := source.Script("CREATE TABLE t (a TEXT); INSERT INTO t VALUES (hex(randomblob(3000000)))"); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		victim []byte
		while  bool // it copies
	}{
		"a text":             {[]byte("theirs"), false},
		"an empty file":      {nil, false},
		"a missing file":     {nil, false},
		"while it is copied": {[]byte("theirs"), true},
	} {
		t.Run(name, func(t *testing.T) {
			dir, elsewhere := t.TempDir(), t.TempDir()
			victim := filepath.Join(elsewhere, "victim")
			missing := strings.Contains(name, "missing")
			if !missing {
				if err := os.WriteFile(victim, test.victim, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			planted := false
			plant := func(part string) {
				if !planted {
					planted = true
					if err := errors.Join(os.Rename(part, part+".away"), os.Symlink(victim, part), os.Symlink(victim, part+"-journal")); err != nil {
						t.Error(err)
					}
				}
			}
			before := beforeOpen
			defer func() { beforeOpen = before }()
			progress := func(done, total int64) {}
			file := filepath.Join(dir, "b")
			if test.while {
				progress = func(done, total int64) { plant(file + partial) }
			} else {
				beforeOpen = plant
			}
			if err := Write(context.Background(), source, file, progress); err == nil || !errors.Is(err, errExchanged) && name != "a text" && !missing {
				t.Errorf("got %v", err)
			}
			left, err := os.ReadFile(victim)
			if !slices.Equal(left, test.victim) || (err != nil) != missing {
				t.Errorf("the victim has %d octets, %v", len(left), err)
			}
		})
	}
}
