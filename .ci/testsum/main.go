// Command testsum runs go test with its own arguments and tells what came of it
// in a form made for people: a line for each package as it ends, the output of
// what failed, and last of all "N passed, N failed".
//
// The line before tells what passed: tests, cases (their subtests), and the inputs of
// fuzz targets, seeds included, that were replayed. "N passed" counts tests and cases,
// "N failed" whatever failed; a failure outside of any test, such as a package that
// does not compile, is one.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

func main() {
	s := newSummary(os.Stdout)
	c := exec.Command("go", append([]string{"test", "-json"}, os.Args[1:]...)...)
	c.Stderr = os.Stderr
	events, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
		os.Exit(1)
	}
	s.read(events)
	s.finish(c.Wait())
	if len(s.failures) > 0 {
		os.Exit(1)
	}
}

// event is a line of go test -json; see "go doc test2json" and "go help buildjson".
type event struct {
	Action      string
	Package     string
	Test        string
	ImportPath  string // of what is built
	Output      string
	Elapsed     float64
	FailedBuild string // the ImportPath that a package needed
}

// name is a test of a package; Test is empty for the package itself.
type name struct{ Package, Test string }

func (n name) String() string { return strings.TrimSpace(n.Package + " " + n.Test) }

// failure is what is shown of one test, package or build.
type failure struct {
	title, output string
}

type summary struct {
	out                  io.Writer
	tests, cases, inputs int // that passed
	skipped              int
	failures             []failure
	skips                []failure

	output  map[name]*strings.Builder   // of what has not ended
	open    map[string][]string         // tests that have begun, by package
	bad     map[string]bool             // packages of which a test failed
	builds  map[string]*strings.Builder // by ImportPath
	blamed  map[string]bool             // builds already counted
	strange strings.Builder             // lines that are no events
}

func newSummary(out io.Writer) *summary {
	return &summary{
		out: out, output: map[name]*strings.Builder{}, open: map[string][]string{},
		bad: map[string]bool{}, builds: map[string]*strings.Builder{}, blamed: map[string]bool{},
	}
}

// read takes all events in.
func (s *summary) read(r io.Reader) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		var e event
		switch {
		case strings.TrimSpace(line) == "":
		case json.Unmarshal([]byte(line), &e) == nil && e.Action != "":
			s.take(e)
		default:
			s.strange.WriteString(line)
		}
		if err != nil {
			return
		}
	}
}

func (s *summary) take(e event) {
	n := name{e.Package, e.Test}
	switch e.Action {
	case "run":
		s.open[e.Package] = append(s.open[e.Package], e.Test)
	case "output":
		add(s.output, n, e.Output)
	case "build-output":
		add(s.builds, e.ImportPath, e.Output)
	case "pass", "skip", "fail":
		if e.Test == "" {
			s.endPackage(e)
		} else {
			s.endTest(n, e.Action)
		}
	}
}

func add[K comparable](m map[K]*strings.Builder, key K, text string) {
	if m[key] == nil {
		m[key] = &strings.Builder{}
	}
	m[key].WriteString(text)
}

func (s *summary) endTest(n name, action string) {
	s.open[n.Package] = slices.DeleteFunc(s.open[n.Package], func(test string) bool { return test == n.Test })
	switch action {
	case "pass":
		s.count(n.Test)
	case "skip":
		s.skipped++
		s.skips = append(s.skips, failure{n.String(), s.said(n)})
	case "fail":
		s.fail(n, n.String())
	}
	delete(s.output, n)
}

// count counts what passed as what it is.
func (s *summary) count(test string) {
	switch {
	case !strings.Contains(test, "/"):
		s.tests++
	case strings.HasPrefix(test, "Fuzz"):
		s.inputs++
	default:
		s.cases++
	}
}

func (s *summary) endPackage(e event) {
	n := name{Package: e.Package}
	if e.Action == "fail" {
		for _, test := range s.open[e.Package] {
			s.fail(name{e.Package, test}, e.Package+" "+test+" (did not end)")
		}
		switch {
		case e.FailedBuild != "":
			if !s.blamed[e.FailedBuild] {
				s.blamed[e.FailedBuild] = true
				add(s.builds, e.FailedBuild, "")
				s.failures = append(s.failures, failure{e.FailedBuild + " (build)", s.builds[e.FailedBuild].String()})
			}
		case !s.bad[e.Package]:
			s.fail(n, e.Package)
		}
	}
	if e.Action != "skip" { // a package without tests
		word := map[string]string{"pass": "ok", "fail": "FAIL"}[e.Action]
		fmt.Fprintf(s.out, "%-4s  %-28s %5.1fs\n", word, e.Package, e.Elapsed)
	}
	delete(s.open, e.Package)
	delete(s.output, n)
}

func (s *summary) fail(n name, title string) {
	s.bad[n.Package] = true
	s.failures = append(s.failures, failure{title, s.said(n)})
}

// said is the output of a test without the lines that only tell of its course.
func (s *summary) said(n name) string {
	if s.output[n] == nil {
		return ""
	}
	var kept strings.Builder
	for line := range strings.Lines(s.output[n].String()) {
		course := strings.TrimLeft(line, " ")
		if !strings.HasPrefix(course, "=== ") && !strings.HasPrefix(course, "--- ") && strings.TrimSpace(line) != "FAIL" {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// finish prints what failed and the numbers; err is how go test ended.
func (s *summary) finish(err error) {
	if err != nil && len(s.failures) == 0 {
		s.failures = append(s.failures, failure{"go test: " + err.Error(), s.strange.String()})
	}
	if err == nil && s.tests == 0 {
		s.failures = append(s.failures, failure{"go test found no test", s.strange.String()})
	}
	s.print("SKIPPED", s.skips)
	s.print("FAILED", s.failures)
	fmt.Fprintf(s.out, "\npassed: %d tests and %d cases, counted below; %d replayed inputs of fuzz targets besides\n", s.tests, s.cases, s.inputs)
	fmt.Fprintf(s.out, "%d passed, %d failed", s.tests+s.cases, len(s.failures))
	if s.skipped > 0 {
		fmt.Fprintf(s.out, ", %d skipped", s.skipped)
	}
	fmt.Fprintln(s.out)
}

// print shows titles with their output, indented below them.
func (s *summary) print(word string, all []failure) {
	for _, f := range all {
		fmt.Fprintf(s.out, "\n%s  %s\n", word, f.title)
		for line := range strings.Lines(f.output) {
			fmt.Fprintf(s.out, "    %s\n", strings.TrimSuffix(line, "\n"))
		}
	}
}
