package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"mailsrv/internal/backend"
)

func (p *program) versionCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the versions of mailsrv, Go and SQLite",
		Long:  "Prints the versions of mailsrv and of the parts that matter in a bug report.",
	}
	return p.command(c, exactly(), func(context.Context, []string) error {
		_, err := p.out.WriteString(versionText())
		return err
	})
}

// versionText returns the text that version and --version print.
func versionText() string {
	return fmt.Sprintf("mailsrv %s\n%s %s/%s\n%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH, backend.Versions())
}

// version returns the release, or the revision that was built.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(unknown)"
}
