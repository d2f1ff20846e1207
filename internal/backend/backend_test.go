package backend_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailsrv/internal/backend"
	"mailsrv/internal/directory"
)

func TestOpenByURL(t *testing.T) {
	dir := t.TempDir()
	elsewhere := filepath.Join(t.TempDir(), "mail.db")
	for url, file := range map[string]string{"": filepath.Join(dir, "mailsrv.db"), "sqlite:" + elsewhere: elsewhere} {
		s, err := backend.Open(t.Context(), url, backend.Options{DataDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.AddDomain(t.Context(), directory.Domain{Name: "me.com"}); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(file); err != nil {
			t.Errorf("%q: %v", url, err)
		}
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "*.db")); !slices.Equal(names, []string{filepath.Join(dir, "mailsrv.db")}) {
		t.Errorf("made %q", names)
	}
}

// A URL of an unknown kind makes no store, and its password is in no error.
func TestUnknownURL(t *testing.T) {
	for _, url := range []string{"postgres://mail:secret@a,b/mail", "postgresql:///mail", "/srv/secret.db", "sqlite:", "sqlite", "mysql:secret"} {
		dir := t.TempDir()
		_, opened := backend.Open(t.Context(), url, backend.Options{DataDir: dir})
		_, rebuilt := backend.Rebuild(t.Context(), url, backend.Options{DataDir: dir}, nil)
		restored := backend.Restore(t.Context(), url, backend.Options{DataDir: dir}, nil, nil, nil)
		for _, err := range []error{opened, rebuilt, restored, backend.Known(url)} {
			if !errors.Is(err, backend.ErrURL) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: %v", url, err)
			}
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("%s made %v", url, left)
		}
	}
}
