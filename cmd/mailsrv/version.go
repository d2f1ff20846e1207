package main

import (
	"context"
	"database/sql"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func (p *program) versionCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the versions of mailsrv, Go and SQLite",
		Long:  "Prints the versions of mailsrv and of the parts that matter in a bug report.",
	}
	return p.command(c, exactly(), func(ctx context.Context, _ []string) error {
		sqlite, err := sqliteVersion(ctx)
		if err != nil {
			return fmt.Errorf("ask SQLite for its version: %w", err)
		}
		p.printf("mailsrv %s\n%s %s/%s\nSQLite %s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH, sqlite)
		return nil
	})
}

// sqliteVersion asks the library that storage/sqlite has linked in.
func sqliteVersion(ctx context.Context) (version string, err error) {
	db, err := sql.Open("sqlite3", ":memory:")
	if err != nil {
		return "", err
	}
	defer db.Close()
	err = db.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&version)
	return version, err
}

// version is the release, or the revision that was built.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(unknown)"
	}
	text, changed := info.Main.Version, ""
	if text == "" {
		text = "(devel)"
	}
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			text += " " + s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = ", changed"
		}
	}
	return text + changed
}
