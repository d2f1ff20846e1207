// Command minimise keeps, of the inputs of each fuzz target, those that reach code
// which the others do not. It chooses among what stands in testdata/fuzz and what the
// runs of "make fuzz" left in Go's cache, and writes its choice to testdata/fuzz.
// Arguments are packages; without any it is all of the module.
//
// First come the inputs that reach statements which the seeds do not reach, then those
// that reach them more often than others, until a target has twenty. Files that are
// named in words, and not by the hash that Go gives them, hold a defect once found:
// they always stay.
package main

import (
	"cmp"
	"fmt"
	"math/bits"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
)

const enough = 20 // inputs of a target

func main() {
	packages := os.Args[1:]
	if len(packages) == 0 {
		packages = []string{"./..."}
	}
	if err := minimise(packages); err != nil {
		fmt.Fprintln(os.Stderr, "minimise:", err)
		os.Exit(1)
	}
}

func minimise(packages []string) error {
	// "go test -list" names the targets of a package and then the package.
	list, err := goTool(append([]string{"test", "-list=^Fuzz"}, packages...)...)
	if err != nil {
		return err
	}
	var targets []string
	for line := range strings.Lines(list) {
		words := strings.Fields(line)
		switch {
		case len(words) > 0 && strings.HasPrefix(words[0], "Fuzz"):
			targets = append(targets, words[0])
		case len(words) > 1 && words[0] == "ok":
			for _, name := range targets {
				if err := one(words[1], name); err != nil {
					return fmt.Errorf("%s %s: %w", words[1], name, err)
				}
			}
			targets = nil
		}
	}
	return nil
}

// one chooses the inputs of one target.
func one(pkg, target string) error {
	work, err := os.MkdirTemp("", "minimise")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	program := filepath.Join(work, "test")
	if _, err := goTool("test", "-c", "-covermode=count", "-o", program, pkg); err != nil {
		return err
	}
	dir, err := goTool("list", "-f={{.Dir}}", pkg)
	if err != nil {
		return err
	}
	cache, err := goTool("env", "GOCACHE")
	if err != nil {
		return err
	}
	corpus := filepath.Join(strings.TrimSpace(dir), "testdata/fuzz", target)
	all, err := inputs(corpus, filepath.Join(strings.TrimSpace(cache), "fuzz", pkg, target))
	if err != nil {
		return err
	}
	r := runner{program: program, target: target, work: work}
	seeds, err := r.reach("^seed#", nil)
	if err != nil {
		return err
	}
	if err := r.measure(all); err != nil {
		return err
	}
	kept := choose(all, seeds, enough)

	if err := os.RemoveAll(corpus); err != nil {
		return err
	}
	for _, in := range kept {
		if err := os.MkdirAll(corpus, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(corpus, in.name), in.text, 0o644); err != nil {
			return err
		}
	}
	fmt.Printf("%s %s: %d of %d inputs; the seeds reach %d blocks, with all inputs %d, with those kept %d\n",
		pkg, target, len(kept), len(all), blocks(seeds, nil), blocks(seeds, all), blocks(seeds, kept))
	return nil
}

// input is a file of a corpus.
type input struct {
	name    string
	text    []byte
	reaches reach
}

// reach is how often an input came to each block of statements, in binary digits.
type reach map[string]int

var hash = regexp.MustCompile(`^[0-9a-f]{16}$`)

// inputs reads the files of folders that may not be there, each content once.
func inputs(folders ...string) (all []*input, err error) {
	seen := map[string]bool{}
	for _, folder := range folders {
		files, err := filepath.Glob(filepath.Join(folder, "*"))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			if !seen[string(text)] {
				seen[string(text)] = true
				all = append(all, &input{name: filepath.Base(file), text: text})
			}
		}
	}
	// Of two that reach the same the shorter is kept.
	slices.SortFunc(all, func(a, b *input) int {
		return cmp.Or(cmp.Compare(len(a.text), len(b.text)), cmp.Compare(a.name, b.name))
	})
	return all, nil
}

type runner struct{ program, target, work string }

// measure runs the target with each input by itself.
func (r runner) measure(all []*input) error {
	var (
		wait   sync.WaitGroup
		mu     sync.Mutex
		failed error
	)
	free := make(chan struct{}, runtime.NumCPU())
	for _, in := range all {
		free <- struct{}{}
		wait.Go(func() {
			defer func() { <-free }()
			reaches, err := r.reach("^"+regexp.QuoteMeta(in.name)+"$", in)
			mu.Lock()
			defer mu.Unlock()
			in.reaches = reaches
			failed = cmp.Or(failed, err)
		})
	}
	wait.Wait()
	return failed
}

// reach runs the inputs of the target that a pattern names, with in as the only file.
func (r runner) reach(pattern string, in *input) (reach, error) {
	dir, err := os.MkdirTemp(r.work, "run")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if in != nil {
		corpus := filepath.Join(dir, "testdata/fuzz", r.target)
		if err := os.MkdirAll(corpus, 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(corpus, in.name), in.text, 0o644); err != nil {
			return nil, err
		}
	}
	profile := filepath.Join(dir, "profile")
	c := exec.Command(r.program, "-test.run=^"+r.target+"$/"+pattern, "-test.coverprofile="+profile)
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", pattern, err, out)
	}
	text, err := os.ReadFile(profile)
	if err != nil {
		return nil, err
	}
	reaches := reach{}
	for line := range strings.Lines(string(text)) {
		var block string
		var statements, times int
		if n, _ := fmt.Sscan(line, &block, &statements, &times); n == 3 && times > 0 {
			reaches[block] = bits.Len(uint(times))
		}
	}
	return reaches, nil
}

// choose returns what stays of all inputs, most of them at most if fewer do not reach
// as much.
func choose(all []*input, seeds reach, most int) (kept []*input) {
	reached, often := map[string]bool{}, map[string]bool{}
	take := func(r reach) {
		for block, digits := range r {
			reached[block] = true
			often[fmt.Sprint(block, digits)] = true
		}
	}
	take(seeds)
	rest := slices.Clone(all)
	keep := func(in *input) {
		take(in.reaches)
		kept = append(kept, in)
		rest = slices.DeleteFunc(rest, func(other *input) bool { return other == in })
	}
	for _, in := range all {
		if !hash.MatchString(in.name) {
			keep(in)
		}
	}
	for { // what no other reaches
		in := best(rest, func(block string, _ int) bool { return !reached[block] })
		if in == nil {
			break
		}
		keep(in)
	}
	for len(kept) < most { // what no other reaches so often
		in := best(rest, func(block string, digits int) bool { return !often[fmt.Sprint(block, digits)] })
		if in == nil {
			break
		}
		keep(in)
	}
	return kept
}

// best is the input that adds most, nil where none adds anything.
func best(all []*input, adds func(block string, digits int) bool) (found *input) {
	most := 0
	for _, in := range all {
		n := 0
		for block, digits := range in.reaches {
			if adds(block, digits) {
				n++
			}
		}
		if n > most {
			found, most = in, n
		}
	}
	return found
}

// blocks counts what the seeds and inputs reach together.
func blocks(seeds reach, all []*input) int {
	reached := map[string]bool{}
	for block := range seeds {
		reached[block] = true
	}
	for _, in := range all {
		for block := range in.reaches {
			reached[block] = true
		}
	}
	return len(reached)
}

// goTool returns what a command of Go prints.
func goTool(args ...string) (string, error) {
	c := exec.Command("go", args...)
	c.Stderr = os.Stderr
	out, err := c.Output()
	return string(out), err
}
