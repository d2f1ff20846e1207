package arch

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mailsrv/internal/config"
)

// root of the module, from this folder.
const root = "../.."

var (
	testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	testName = regexp.MustCompile(`^(?:Test|Fuzz)\w+$`)
	subtest  = regexp.MustCompile(`(?m)^\s+"(\w+)":\s+test\w+,$`)
	codeSpan = regexp.MustCompile("`([^`]+)`")
	link     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
)

// The transcripts that docs/protocol.md names.
var transcripts = []string{"smtpd/testdata", "pop3d/testdata"}

// Every row of docs/protocol.md, docs/security.md and the library's deviations names
// tests that exist, and
// every transcript is named there.
func TestPagesNameTests(t *testing.T) {
	exists := testsOfTheModule(t)
	named := map[string]bool{}
	rows := 0
	pages := slices.Concat(tableRows(t, "docs/protocol.md"), tableRows(t, "docs/security.md"), tableRows(t, "smtpd/library/DEVIATIONS.md"))
	for _, cells := range pages {
		tests := codeSpans(cells[len(cells)-1])
		if len(tests) == 0 {
			t.Errorf("%s: no test is named", cells[0])
		}
		for _, test := range tests {
			rows++
			named[test] = true
			if !exists[test] {
				t.Errorf("%s: there is no test %s", cells[0], test)
			}
		}
	}
	if rows < 50 {
		t.Errorf("only %d tests were found on the page: has its form changed?", rows)
	}
	for test := range exists {
		if strings.HasSuffix(test, ".txt") && !named[test] {
			t.Errorf("docs/protocol.md names no clause for the transcript %s", test)
		}
	}
}

// docs/reliability.md names tests that exist.
func TestReliabilityNamesTests(t *testing.T) {
	exists := testsOfTheModule(t)
	named := 0
	for _, span := range codeSpans(read(t, filepath.Join(root, "docs/reliability.md"))) {
		if !testName.MatchString(span) {
			continue
		}
		named++
		if !exists[span] {
			t.Errorf("there is no test %s", span)
		}
	}
	if named < 10 {
		t.Errorf("only %d tests were found on the page: has its form changed?", named)
	}
}

// testsOfTheModule returns what a test can be called by: a transcript by its
// path below testdata, a test function by its name, a part of the contract
// suite as TestContract/Name.
func testsOfTheModule(t *testing.T) map[string]bool {
	names := map[string]bool{}
	for _, dir := range transcripts {
		base := filepath.Join(root, dir)
		eachFile(t, base, ".txt", func(path string) {
			name, err := filepath.Rel(base, path)
			if err != nil {
				t.Fatal(err)
			}
			names[filepath.ToSlash(name)] = true
		})
	}
	eachFile(t, root, "_test.go", func(path string) {
		for _, m := range testFunc.FindAllStringSubmatch(read(t, path), -1) {
			names[m[1]] = true
		}
	})
	for _, m := range subtest.FindAllStringSubmatch(read(t, filepath.Join(root, "storage/storagetest/storagetest.go")), -1) {
		names["TestContract/"+m[1]] = true
	}
	return names
}

// The table of keys in the operator's guide holds every key with its default.
func TestGuideHoldsEveryKey(t *testing.T) {
	var keys, environ []string
	for _, cells := range tableRows(t, "docs/operators-guide.md") {
		key := codeSpans(cells[0])
		if len(cells) != 3 || len(key) != 1 || !slices.Contains(config.Names(), key[0]) {
			continue
		}
		value := ""
		if standard := codeSpans(cells[1]); len(standard) > 0 {
			value = standard[0]
		}
		keys = append(keys, key[0])
		environ = append(environ, "MAILSRV_"+strings.ToUpper(strings.ReplaceAll(key[0], ".", "_"))+"="+value)
	}
	if !slices.Equal(keys, config.Names()) {
		t.Errorf("the guide has the keys\n%v, want\n%v", keys, config.Names())
	}
	empty := filepath.Join(t.TempDir(), "mailsrv.yaml")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	load := func(environ []string) *config.Config {
		c, err := config.Load(empty, "", environ, "mail.me.com")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for _, change := range config.Changes(load(nil), load(environ)) {
		t.Errorf("the guide has another default of %s", change.Key)
	}
}

// Links between the pages lead somewhere.
func TestLinks(t *testing.T) {
	found := 0
	eachFile(t, root, ".md", func(path string) {
		for _, m := range link.FindAllStringSubmatch(read(t, path), -1) {
			target, _, _ := strings.Cut(m[1], "#")
			if target == "" || strings.Contains(target, "://") {
				continue
			}
			found++
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), target)); err != nil {
				t.Errorf("%s: the link %s leads nowhere", path, m[1])
			}
		}
	})
	if found == 0 {
		t.Error("no link was found")
	}
}

// tableRows returns the rows of the tables on a page, without their heads.
func tableRows(t *testing.T, page string) (rows [][]string) {
	body := false
	for line := range strings.Lines(read(t, filepath.Join(root, page))) {
		line = strings.TrimSpace(line)
		switch inner, ok := strings.CutPrefix(line, "|"); {
		case !ok:
			body = false
		case strings.Trim(line, "|-: ") == "":
			body = true
		case body:
			rows = append(rows, strings.Split(strings.TrimSuffix(inner, "|"), "|"))
		}
	}
	return rows
}

func codeSpans(text string) (spans []string) {
	for _, m := range codeSpan.FindAllStringSubmatch(text, -1) {
		spans = append(spans, m[1])
	}
	return spans
}

// eachFile visits the files below dir whose names end so, hidden folders and
// what is built or run left out.
func eachFile(t *testing.T, dir, end string, visit func(path string)) {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() && (rel == "build" || rel == "run" || strings.HasPrefix(rel, ".") && rel != ".") {
			return fs.SkipDir
		}
		if !d.IsDir() && strings.HasSuffix(path, end) {
			visit(path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
