package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"mailsrv/internal/admin"
	"mailsrv/internal/auth"
)

// secretFlags tell where a password comes from. It is never an argument: other users of the
// machine can read those.
type secretFlags struct {
	password, hash, generate bool
}

const secretHelp = `The password is asked for twice on a terminal. Without one, --password-stdin
reads it from standard input, --hash-stdin takes a hash that another system
made ($argon2id$, $2y$, $6$, $5$), and --generate makes a random password and
prints it this once.`

func (f *secretFlags) register(c *cobra.Command) {
	c.Flags().BoolVar(&f.password, "password-stdin", false, "read the password from standard input")
	c.Flags().BoolVar(&f.hash, "hash-stdin", false, "read a password hash from standard input")
	c.Flags().BoolVar(&f.generate, "generate", false, "make a random password and print it")
}

// check refuses flags that contradict each other, before anything is opened.
func (f *secretFlags) check() error {
	if f.password && f.hash || f.password && f.generate || f.hash && f.generate {
		return usage("give one of --password-stdin, --hash-stdin and --generate")
	}
	return nil
}

// secret returns the password of an address from the source that the flags name.
func (p *program) secret(f secretFlags, address string) (admin.Secret, error) {
	switch {
	case f.generate:
		return admin.Secret{Password: auth.Generate()}, nil
	case f.password:
		line, err := p.readLine()
		return admin.Secret{Password: line}, err
	case f.hash:
		line, err := p.readLine()
		if err == nil && line == "" {
			err = sayNo("standard input holds no hash for " + printable(address))
		}
		return admin.Secret{Hash: strings.TrimSpace(line)}, err
	}
	if !isTerminal(p.stdin) {
		return admin.Secret{}, usage("there is no terminal to ask for a password: use --password-stdin, --hash-stdin or --generate")
	}
	first, err := p.ask("Password for " + printable(address) + ": ")
	if err != nil {
		return admin.Secret{}, err
	}
	second, err := p.ask("The same again: ")
	if err != nil {
		return admin.Secret{}, err
	}
	if first != second {
		return admin.Secret{}, sayNo("the two passwords differ, and nothing was changed: try again")
	}
	return admin.Secret{Password: first}, nil
}

// sayNo returns an error whose text is complete.
func sayNo(text string) error { return &admin.Advice{Text: text} }

// readLine reads standard input, which must hold one line.
func (p *program) readLine() (string, error) {
	const most = 4096
	text, err := io.ReadAll(io.LimitReader(p.stdin, most+1))
	if err != nil {
		return "", fmt.Errorf("read standard input: %w", err)
	}
	text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	if len(text) > most || bytes.ContainsAny(text, "\r\n") {
		return "", sayNo("standard input must hold one line")
	}
	return string(text), nil
}

// ask reads a password from the terminal without showing it. It restores the terminal's
// mode, also when a signal ends the wait.
func (p *program) ask(question string) (string, error) {
	fd := int(p.stdin.(interface{ Fd() uintptr }).Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("terminal: %w", err)
	}
	interrupt := make(chan os.Signal, 1)
	signal.Notify(interrupt, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(interrupt)

	fmt.Fprint(p.stderr, question)
	type answer struct {
		text []byte
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		text, err := term.ReadPassword(fd)
		answered <- answer{text, err}
	}()
	select {
	case a := <-answered:
		fmt.Fprintln(p.stderr)
		if errors.Is(a.err, io.EOF) {
			a.err = sayNo("no password was given, and nothing was changed")
		}
		return string(a.text), a.err
	case <-interrupt:
		term.Restore(fd, before)
		fmt.Fprintln(p.stderr)
		return "", sayNo("interrupted, and nothing was changed")
	}
}

// confirm asks for a yes on a terminal; without one, yes must have been given
// as a flag.
func (p *program) confirm(yes bool, question string) error {
	if yes {
		return nil
	}
	if !isTerminal(p.stdin) {
		return usage("%s There is no terminal to ask: repeat it with --yes", question)
	}
	fmt.Fprintf(p.stderr, "%s Type yes to go on: ", printable(question))
	var line strings.Builder
	for one := make([]byte, 1); ; {
		n, err := p.stdin.Read(one)
		if n == 1 && one[0] != '\n' {
			line.WriteByte(one[0])
			continue
		}
		if n == 1 || err != nil {
			break
		}
	}
	if answer := strings.TrimSpace(line.String()); !strings.EqualFold(answer, "yes") {
		return sayNo("not confirmed, and nothing was changed")
	}
	return nil
}
