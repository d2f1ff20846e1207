package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func chmod(t *testing.T, file string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(file, mode); err != nil {
		t.Fatal(err)
	}
}

// Nobody else may open what commands and the server make, whatever the umask.
func TestEveryFileIsPrivate(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	h, other := newHouse(t), newHouse(t)
	h.do("", "domain", "add", "me.com")
	h.do("", "mailbox", "add", "look@me.com", "--generate")
	h.do("", "backup", filepath.Join(h.dir, "backup.db"))
	other.do("", "restore", filepath.Join(h.dir, "backup.db"))
	if err := h.serve().send("look@me.com"); err != nil {
		t.Error(err)
	}
	await(t, "the reserve", func() bool { _, err := os.Stat(filepath.Join(h.dir, "reserve")); return err == nil })
	seen := map[string]bool{}
	for _, dir := range []string{h.dir, other.dir} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			seen[filepath.Base(path)] = true
			info, err := os.Stat(path)
			if err == nil && info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s has mode %v", path, info.Mode())
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"data", "mailsrv.db", "mailsrv.db-wal", "mailsrv.db-shm", "lock", "in-use", "reserve", "backup.db"} {
		if !seen[name] {
			t.Errorf("there is no %s", name)
		}
	}
}

// A database that a copy made by hand left open to everybody is closed, and said so.
func TestOpenDatabaseIsClosed(t *testing.T) {
	h := newHouse(t)
	h.do("", "domain", "add", "me.com")
	file := filepath.Join(h.dir, "mailsrv.db")
	warning := "everybody could open " + file + ", which holds mail and password hashes: its mode is 0600 now"
	mode := func() os.FileMode {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()
	}
	for range 2 { // the second time there is nothing to say
		chmod(t, file, 0o644)
		if _, stderr, _ := h.run("", "domain", "list"); stderr != "mailsrv: warning: "+warning+"\n" || mode() != 0o600 {
			t.Errorf("%q, mode %v", stderr, mode())
		}
		if _, stderr, _ := h.run("", "domain", "list"); stderr != "" {
			t.Errorf("%q", stderr)
		}
	}
	chmod(t, file, 0o640)
	if _, stderr, _ := h.run("", "domain", "list"); stderr != "" || mode() != 0o640 {
		t.Errorf("what a group may do: %q, mode %v", stderr, mode())
	}
	chmod(t, file, 0o604)
	if r := h.serve(); !r.logged("level=WARN", warning) || mode() != 0o600 {
		t.Errorf("serve: mode %v", mode())
	}
}

// A data directory that everybody can look into serves, with a warning there and in
// check.
func TestOpenDirectoryIsWarnedOf(t *testing.T) {
	h := newHouse(t)
	h.do("", "domain", "add", "me.com")
	warning := "everybody can look into the data directory: close it with: chmod o-rwx " + h.dir
	for mode, want := range map[os.FileMode]bool{0o755: true, 0o750: false, 0o701: true} {
		chmod(t, h.dir, mode)
		stdout, stderr, code := h.run("", "check")
		if code != exitDone || stdout != "Everything agrees.\n" || strings.Contains(stderr, "mailsrv: warning: "+warning+"\n") != want {
			t.Errorf("check with mode %v: exit %d: %s%s", mode, code, stdout, stderr)
		}
	}
	chmod(t, h.dir, 0o755)
	if r := h.serve(); !r.logged("level=WARN", warning) {
		t.Error("serve says nothing")
	}
}
