package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// systemFile is the configuration file of the machine. It is a variable since tests must
// find none, even where the program is installed.
var systemFile = "/etc/mailsrv/mailsrv.yaml"

// logSocket is the socket of the system's log. It is a variable too: tests, which may run
// on a machine in use, make it empty, so that nothing is recorded.
var logSocket = "/dev/log"

// environment is what a process knows of its surroundings.
type environment struct {
	variables []string // "NAME=value"
	hostname  string
	uid       int // of the user, before any change of identity
	// syslog opens the system's log, where what commands change is recorded; nil
	// records nothing.
	syslog func() (io.WriteCloser, error)
}

// program is one run of the command line.
type program struct {
	stdin  io.Reader
	stdout io.Writer // as given; what is printed goes through out
	out    *bufio.Writer
	stderr io.Writer
	warn   func(texts ...string) // to standard error, or to the server's log
	env    environment

	configFile string // --config
	started    bool   // flags and arguments were right
}

// run runs one command line and returns the exit code. For serve, the end of ctx is an
// order to stop, as SIGTERM is.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, env environment) int {
	p := &program{stdin: stdin, stdout: stdout, out: bufio.NewWriter(stdout), stderr: stderr, env: env}
	p.warn = func(texts ...string) {
		for _, text := range texts {
			fmt.Fprintf(stderr, "mailsrv: warning: %s\n", printable(text))
		}
	}
	root := p.commands()
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		if strings.HasPrefix(err.Error(), "invalid argument") { // it says what to write
			return usage("%v", err)
		}
		return usage("%v: see: %s --help", err, c.CommandPath())
	})
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(p.out)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if flushed := p.out.Flush(); err == nil && flushed != nil {
		err = fmt.Errorf("write the answer: %w", flushed)
	}
	if err == nil {
		return exitDone
	}
	fmt.Fprintf(stderr, "mailsrv: %s\n", printable(strings.ReplaceAll(err.Error(), "\n", "; ")))
	var wrong *usageError
	if errors.As(err, &wrong) || !p.started {
		return exitUsage
	}
	return exitFailed
}

// usageError is a command line that cannot be carried out as written.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usage(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// command sets what all commands without subcommands share.
func (p *program) command(c *cobra.Command, args func(*cobra.Command, []string) error, do func(ctx context.Context, args []string) error) *cobra.Command {
	c.Args = args
	c.DisableFlagsInUseLine = true
	c.RunE = func(c *cobra.Command, args []string) error {
		p.started = true
		return do(c.Context(), args)
	}
	return c
}

// group returns a command that only holds others.
func group(c *cobra.Command, children ...*cobra.Command) *cobra.Command {
	c.AddCommand(children...)
	c.DisableFlagsInUseLine = true
	c.Args = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		if near := c.SuggestionsFor(args[0]); len(near) > 0 {
			return usage("unknown command %q: did you mean: %s %s", args[0], c.CommandPath(), near[0])
		}
		return usage("unknown command %q: see: %s --help", args[0], c.CommandPath())
	}
	c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	c.SuggestionsMinimumDistance = 2
	return c
}

// deletes are other names for a command that removes.
var deletes = []string{"delete", "del", "rm"}

// exactly checks the number of arguments and names what is missing.
func exactly(names ...string) cobra.PositionalArgs { return between(len(names), len(names), names...) }

// between is exactly with optional arguments at the end. most < 0: any number.
func between(least, most int, names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usage("%s needs %s: see: %s --help", shortPath(c), names[len(args)], c.CommandPath())
		case most >= 0 && len(args) > most:
			return usage("%s does not take %q: see: %s --help", shortPath(c), args[most], c.CommandPath())
		}
		return nil
	}
}

// shortPath returns the path of a command without the program's name, which begins every
// error.
func shortPath(c *cobra.Command) string {
	return strings.TrimPrefix(c.CommandPath(), c.Root().Name()+" ")
}
