package main

import (
	"context"
	"runtime"
	"runtime/debug"

	"github.com/mattn/go-sqlite3"
	"github.com/spf13/cobra"
)

func (p *program) versionCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the versions of mailsrv, Go and SQLite",
		Long:  "Prints the versions of mailsrv and of the parts that matter in a bug report.",
	}
	return p.command(c, exactly(), func(context.Context, []string) error {
		sqlite, _, _ := sqlite3.Version()
		p.printf("mailsrv %s\n%s %s/%s\nSQLite %s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH, sqlite)
		return nil
	})
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
