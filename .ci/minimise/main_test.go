package main

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestChoose(t *testing.T) {
	seeds := reach{"a": 1}
	all := []*input{
		{name: "0000000000000001", reaches: reach{"a": 1}},                 // as the seeds
		{name: "0000000000000002", reaches: reach{"a": 1, "b": 1}},         // less than the next
		{name: "0000000000000003", reaches: reach{"a": 1, "b": 1, "c": 1}}, //
		{name: "0000000000000004", reaches: reach{"d": 1}},
		{name: "0000000000000005", reaches: reach{"a": 4}}, // more often than any
		{name: "found_by_a_defect", reaches: reach{"a": 1}},
	}
	for most, want := range map[int]string{
		20: "found_by_a_defect 0000000000000003 0000000000000004 0000000000000005",
		1:  "found_by_a_defect 0000000000000003 0000000000000004", // what only they reach
	} {
		var kept []string
		for _, in := range choose(all, seeds, most) {
			kept = append(kept, in.name)
		}
		if got := strings.Join(kept, " "); got != want {
			t.Errorf("at most %d: kept %s, want %s", most, got, want)
		}
	}
}

// What a long run of "make fuzz" tried is chosen from, not copied.
func TestCorporaAreSmall(t *testing.T) {
	for _, pattern := range []string{"../../*/testdata/fuzz/*", "../../*/*/testdata/fuzz/*"} {
		targets, err := filepath.Glob(pattern)
		if err != nil || len(targets) == 0 {
			t.Fatalf("no corpus: %v", err)
		}
		for _, target := range targets {
			files, err := filepath.Glob(target + "/*")
			if err != nil || len(files) > enough+10 {
				t.Errorf("%s has %d inputs: make minimise (%v)", target, len(files), err)
			}
		}
	}
}
