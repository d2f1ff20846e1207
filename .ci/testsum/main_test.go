package main

import (
	"errors"
	"strings"
	"testing"
)

func TestSummary(t *testing.T) {
	for _, test := range []struct {
		name, events string
		end          error
		want         string
	}{
		{"all well", `
{"Action":"run","Package":"m/a","Test":"TestA"}
{"Action":"run","Package":"m/a","Test":"TestA/b"}
{"Action":"output","Package":"m/a","Test":"TestA/b","Output":"    a_test.go:3: quiet\n"}
{"Action":"pass","Package":"m/a","Test":"TestA/b"}
{"Action":"pass","Package":"m/a","Test":"TestA"}
{"Action":"pass","Package":"m/a","Elapsed":1.25}
{"Action":"skip","Package":"m/none"}
`, nil, "ok    m/a                            1.2s\n\npassed: 1 tests and 1 cases, counted below; 0 replayed inputs of fuzz targets besides\n2 passed, 0 failed\n"},

		{"inputs of a fuzz target", `
{"Action":"run","Package":"m/a","Test":"FuzzA"}
{"Action":"run","Package":"m/a","Test":"FuzzA/seed#0"}
{"Action":"run","Package":"m/a","Test":"FuzzA/0123456789abcdef"}
{"Action":"pass","Package":"m/a","Test":"FuzzA/seed#0"}
{"Action":"pass","Package":"m/a","Test":"FuzzA/0123456789abcdef"}
{"Action":"pass","Package":"m/a","Test":"FuzzA"}
{"Action":"run","Package":"m/a","Test":"TestA"}
{"Action":"run","Package":"m/a","Test":"TestA/b"}
{"Action":"run","Package":"m/a","Test":"TestA/b/c"}
{"Action":"pass","Package":"m/a","Test":"TestA/b/c"}
{"Action":"pass","Package":"m/a","Test":"TestA/b"}
{"Action":"pass","Package":"m/a","Test":"TestA"}
{"Action":"pass","Package":"m/a","Elapsed":1.25}
`, nil, "ok    m/a                            1.2s\n\npassed: 2 tests and 2 cases, counted below; 2 replayed inputs of fuzz targets besides\n4 passed, 0 failed\n"},

		{"a failure with its output", `
{"Action":"run","Package":"m/a","Test":"TestA"}
{"Action":"output","Package":"m/a","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"m/a","Test":"TestA","Output":"    a_test.go:3: bad\n"}
{"Action":"output","Package":"m/a","Test":"TestA","Output":"--- FAIL: TestA (0.00s)\n"}
{"Action":"fail","Package":"m/a","Test":"TestA"}
{"Action":"fail","Package":"m/a"}
`, errors.New("exit status 1"), "FAIL  m/a                            0.0s\n\nFAILED  m/a TestA\n        a_test.go:3: bad\n\npassed: 0 tests and 0 cases, counted below; 0 replayed inputs of fuzz targets besides\n0 passed, 1 failed\n"},

		{"a test that never ended", `
{"Action":"run","Package":"m/a","Test":"TestA"}
{"Action":"output","Package":"m/a","Test":"TestA","Output":"panic: boo\n"}
{"Action":"fail","Package":"m/a"}
`, errors.New("exit status 1"), "FAIL  m/a                            0.0s\n\nFAILED  m/a TestA (did not end)\n    panic: boo\n\npassed: 0 tests and 0 cases, counted below; 0 replayed inputs of fuzz targets besides\n0 passed, 1 failed\n"},

		{"one build that two packages needed", `
{"ImportPath":"m/b","Action":"build-output","Output":"b.go:2: no\n"}
{"Action":"fail","Package":"m/b","FailedBuild":"m/b"}
{"Action":"fail","Package":"m/c","FailedBuild":"m/b"}
`, errors.New("exit status 1"), "FAIL  m/b                            0.0s\nFAIL  m/c                            0.0s\n\nFAILED  m/b (build)\n    b.go:2: no\n\npassed: 0 tests and 0 cases, counted below; 0 replayed inputs of fuzz targets besides\n0 passed, 1 failed\n"},

		{"a package that failed by itself, and a skip", `
{"Action":"run","Package":"m/a","Test":"TestA"}
{"Action":"output","Package":"m/a","Test":"TestA","Output":"    a_test.go:3: not here\n"}
{"Action":"skip","Package":"m/a","Test":"TestA"}
{"Action":"output","Package":"m/a","Output":"leak\n"}
{"Action":"fail","Package":"m/a"}
`, errors.New("exit status 1"), "FAIL  m/a                            0.0s\n\nSKIPPED  m/a TestA\n        a_test.go:3: not here\n\nFAILED  m/a\n    leak\n\npassed: 0 tests and 0 cases, counted below; 0 replayed inputs of fuzz targets besides\n0 passed, 1 failed, 1 skipped\n"},

		{"go itself failed", "", errors.New("exit status 1"), "\nFAILED  go test: exit status 1\n\npassed: 0 tests and 0 cases, counted below; 0 replayed inputs of fuzz targets besides\n0 passed, 1 failed\n"},
		{"nothing to test", "", nil, "\nFAILED  go test found no test\n\npassed: 0 tests and 0 cases, counted below; 0 replayed inputs of fuzz targets besides\n0 passed, 1 failed\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			s := newSummary(&out)
			s.read(strings.NewReader(test.events))
			s.finish(test.end)
			if out.String() != test.want {
				t.Errorf("got\n%s\nwant\n%s", out.String(), test.want)
			}
		})
	}
}
