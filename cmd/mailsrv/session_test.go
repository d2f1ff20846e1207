package main

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what is printed into testdata")

// TestSessions runs the shell sessions in testdata: "$ " begins a command of
// mailsrv, "< " gives it a line of standard input, "% deliver ADDRESS N" lays
// messages into a maildrop. What follows is what it prints; "! " marks standard
// error and "? " an exit code other than 0. Every session has a data directory
// of its own, written DATA.
func TestSessions(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no sessions", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := playSession(newHouse(t), string(text))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want := strings.Split(string(text), "\n")
			for i, line := range strings.Split(got, "\n") {
				if i >= len(want) || line != want[i] {
					t.Fatalf("%s:%d differs\ngot  %s\nwhole:\n%s", file, i+1, line, got)
				}
			}
			for i, line := range strings.Split(got, "\n") {
				if len([]rune(line)) > 80 && !strings.HasPrefix(line, "! ") && !strings.HasPrefix(line, "$ ") {
					t.Errorf("%s:%d: more than 80 columns: %s", file, i+1, line)
				}
			}
		})
	}
}

var (
	timestamp = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`)
	generated = regexp.MustCompile(`[a-z2-7]{4}(-[a-z2-7]{4}){4}`)
)

func playSession(h *house, text string) string {
	lines := strings.Split(text, "\n")
	var played strings.Builder
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		switch {
		case strings.HasPrefix(line, "#"), line == "" && i+1 < len(lines) && (strings.HasPrefix(lines[i+1], "$ ") || strings.HasPrefix(lines[i+1], "#") || strings.HasPrefix(lines[i+1], "% ")):
			played.WriteString(line + "\n")
		case strings.HasPrefix(line, "% deliver "):
			played.WriteString(line + "\n")
			words := strings.Fields(line)
			n, _ := strconv.Atoi(words[3])
			h.deliver(words[2], n)
		case strings.HasPrefix(line, "$ "):
			played.WriteString(line + "\n")
			stdin := ""
			for i+1 < len(lines) && strings.HasPrefix(lines[i+1], "< ") {
				i++
				stdin += strings.TrimPrefix(lines[i], "< ") + "\n"
				played.WriteString(lines[i] + "\n")
			}
			stdout, stderr, code := h.run(stdin, words(line)[2:]...)
			played.WriteString(settle(h, stdout, ""))
			played.WriteString(settle(h, stderr, "! "))
			if code != exitDone {
				played.WriteString("? " + strconv.Itoa(code) + "\n")
			}
		}
	}
	return played.String()
}

// settle replaces what differs from run to run and marks each line.
func settle(h *house, text, mark string) string {
	text = strings.ReplaceAll(text, h.dir, "DATA")
	text = timestamp.ReplaceAllString(text, "TIME")
	text = generated.ReplaceAllString(text, "GENERATED")
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(mark + strings.TrimSuffix(line, "\n") + "\n")
	}
	return b.String()
}

// words splits a command line at spaces outside of quotes and of $(...).
func words(line string) []string {
	var quote rune
	var nested bool
	all := strings.FieldsFunc(line, func(r rune) bool {
		switch {
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case r == '\'' || r == '"':
			quote = r
		case r == '(' || r == ')':
			nested = r == '('
		}
		return r == ' ' && quote == 0 && !nested
	})
	for i := range all {
		all[i] = strings.NewReplacer("'", "", `"`, "").Replace(all[i])
		if all[i] == "EMPTY" {
			all[i] = ""
		}
	}
	return all
}
