package main

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// every visits each command that a person can call.
func every(t *testing.T, visit func(t *testing.T, c *cobra.Command)) {
	t.Helper()
	p := &program{}
	eachCommand(p.commands(), func(c *cobra.Command) error {
		t.Run(pageName(c), func(t *testing.T) { visit(t, c) })
		return nil
	})
}

func TestHelp(t *testing.T) {
	h := newHouse(t)
	every(t, func(t *testing.T, c *cobra.Command) {
		path := strings.Fields(c.CommandPath())[1:]
		text := h.do("", append(path, "--help")...)
		for line := range strings.Lines(text) {
			if len([]rune(strings.TrimSuffix(line, "\n"))) > 80 {
				t.Errorf("more than 80 columns: %s", line)
			}
		}
		if c.Long == "" || c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Error("needs a Short without a full stop and a Long")
		}
		if c.HasParent() && c.Parent().HasParent() && c.Example == "" {
			t.Error("needs an Example")
		}
		if len(path) > 0 && h.do("", append([]string{"help"}, path...)...) != text {
			t.Error("help says something else than --help")
		}
	})
}

// An example that a person copies must be right.
func TestExamplesParse(t *testing.T) {
	every(t, func(t *testing.T, c *cobra.Command) {
		for line := range strings.SplitSeq(c.Example+"\n"+c.Long, "\n") {
			_, rest, found := strings.Cut(line, "  mailsrv ")
			if !found {
				continue
			}
			rest, _, _ = strings.Cut(rest, " | ")
			rest, _, _ = strings.Cut(rest, " > ")
			root := (&program{}).commands()
			target, args, err := root.Find(words(rest))
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			if err := target.ParseFlags(args); err != nil {
				t.Errorf("%s: %v", line, err)
			}
			if err := target.ValidateArgs(target.Flags().Args()); err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
	})
}

func TestListsAndShowsHaveJSON(t *testing.T) {
	every(t, func(t *testing.T, c *cobra.Command) {
		if (c.Name() == "list" || c.Name() == "show") && c.Flags().Lookup("json") == nil {
			t.Error("has no --json")
		}
	})
}

func TestJSONEscapesEveryControlCharacter(t *testing.T) {
	h := newHouse(t)
	h.do("", "domain", "add", "me.com")
	h.do("", "mailbox", "add", "look@me.com", "--generate")
	for _, args := range [][]string{
		{"domain", "list"}, {"domain", "show", "me.com"}, {"mailbox", "list"}, {"mailbox", "show", "look@me.com"},
		{"alias", "list"}, {"quota", "show"}, {"maildrop", "list", "look@me.com"},
	} {
		text := h.do("", append(args, "--json")...)
		if !json.Valid([]byte(text)) {
			t.Errorf("%v: not JSON: %s", args, text)
		}
	}
	var out strings.Builder
	p := program{}
	p.out = bufio.NewWriter(&out)
	if err := p.printJSON("\x1b\u0085\x7f\U000e0001\n"); err != nil {
		t.Fatal(err)
	}
	p.out.Flush()
	if want := `"\u001b\u0085\u007f\udb40\udc01\n"` + "\n"; out.String() != want {
		t.Errorf("got %s want %s", out.String(), want)
	}
}

func TestManualPages(t *testing.T) {
	h := newHouse(t)
	dir := filepath.Join(t.TempDir(), "man1")
	h.do("", "man", dir)
	every(t, func(t *testing.T, c *cobra.Command) {
		page := filepath.Join(dir, pageName(c)+".1")
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), ".SH SYNOPSIS\n.B mailsrv") {
			t.Errorf("no synopsis:\n%s", text)
		}
	})
	groff, err := exec.LookPath("groff")
	if err != nil {
		t.Fatal("no groff to read the pages with: run deploy/setup test")
	}
	pages, _ := filepath.Glob(dir + "/*.1")
	for _, page := range pages {
		warnings, err := exec.Command(groff, "-man", "-Tutf8", "-ww", "-z", page).CombinedOutput()
		if err != nil || len(warnings) > 0 {
			t.Errorf("%s: %v\n%s", page, err, warnings)
		}
	}
}

func TestCompletion(t *testing.T) {
	h := newHouse(t)
	for shell, check := range map[string][]string{"bash": {"-n"}, "zsh": {"-n"}, "fish": {"-n"}} {
		script := h.do("", "completion", shell)
		if !strings.Contains(script, "mailsrv") {
			t.Errorf("%s: no script", shell)
		}
		path, err := exec.LookPath(shell)
		if err != nil {
			continue
		}
		c := exec.CommandContext(context.Background(), path, append(check, "/dev/stdin")...)
		c.Stdin = strings.NewReader(script)
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", shell, err, out)
		}
	}
	if out := h.do("", "__complete", "mailbox", "a"); !strings.Contains(out, "add\t") {
		t.Errorf("no completion of a command: %q", out)
	}
}

func TestVersion(t *testing.T) {
	h := newHouse(t)
	text := h.do("", "version")
	for _, flag := range []string{"--version", "-v"} {
		if got := h.do("", flag); got != text {
			t.Errorf("%s: %q", flag, got)
		}
	}
	for _, want := range []string{"mailsrv ", "go1.", "SQLite 3."} {
		if !strings.Contains(text, want) {
			t.Errorf("%q does not name %s", text, want)
		}
	}
}
