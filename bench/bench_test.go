package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	m := median([]sample{{rate: 5, cpu: 1}, {rate: 1, cpu: 3}, {rate: 3}})
	if m[rate] != 3 || m[cpu] != 2 {
		t.Errorf("%v", m)
	}
}

func TestVerdicts(t *testing.T) {
	for _, test := range []struct {
		claim claim
		want  string
	}{
		{times("", 24.9, 25, 33), "**missed**"},
		{times("", 25, 25, 33), "owed"},
		{times("", 40, 25, 33), "proud"},
		{cost(0.32, 0.15, 0.11, "sink", 0.062, 0.031), "**missed**"},
		{cost(0.15, 0.15, 0.11, "sink", 0.031, 0.031), "owed"},
		{cost(0.20, 0.15, 0.11, "sink", 0.062, 0.031), "proud"},
	} {
		if got := test.claim.verdict(); got != test.want {
			t.Errorf("%v: %s", test.claim, got)
		}
	}
}

func TestRowNamesDiffer(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range rows {
		if seen[r.name] {
			t.Errorf("two rows are called %s", r.name)
		}
		seen[r.name] = true
	}
}

// The document of the repository must have a place for the figures.
func TestFiguresHaveAPlace(t *testing.T) {
	text, err := os.ReadFile("../docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "performance.md")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, figures := range []string{"first", "second"} {
		if err := replaceFigures(path, figures); err != nil {
			t.Fatal(err)
		}
	}
	text, _ = os.ReadFile(path)
	if strings.Contains(string(text), "\n\nfirst\n") || !strings.Contains(string(text), "\n\nsecond\n") {
		t.Errorf("%s", text)
	}
}
