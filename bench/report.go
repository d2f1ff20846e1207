package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// report collects the rows.
type report struct {
	conditions string
	rows       []reported
}

type reported struct {
	row
	outcome *outcome
	err     error
}

func (r *report) add(w row, o *outcome, err error) {
	r.rows = append(r.rows, reported{w, o, err})
}

// failures returns the number of rows that could not be measured.
func (r *report) failures() (n int) {
	for _, row := range r.rows {
		if row.err != nil {
			n++
		}
	}
	return n
}

// markdown returns the report: the claims, and then the figures they are made of.
func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n| row | work | measured | owed | proud | reached |\n|---|---|---|---|---|---|\n", r.conditions)
	for _, row := range r.rows {
		if row.err != nil {
			why, _, _ := strings.Cut(row.err.Error(), "\n")
			fmt.Fprintf(&b, "| %s | %s | could not be measured: %s | | | **no** |\n", row.name, row.title, why)
			continue
		}
		title := row.title
		for _, c := range row.outcome.claims {
			fmt.Fprintf(&b, "| %s | %s: %s | %s | %s | %s | %s |\n", row.name, title, c.what,
				c.figure(c.measured), c.figure(c.owed), c.figure(c.proud), c.verdict())
			title = "…"
		}
	}
	b.WriteString("\n| row | server |")
	for _, c := range columns {
		fmt.Fprintf(&b, " %s |", c.title)
	}
	b.WriteString("\n|---|---|" + strings.Repeat("--:|", len(columns)) + "\n")
	for _, row := range r.rows {
		if row.outcome == nil {
			continue
		}
		for _, name := range row.outcome.contenders {
			fmt.Fprintf(&b, "| %s | %s |", row.name, name)
			for _, c := range columns {
				if v, ok := row.outcome.medians[name][c.metric]; ok {
					fmt.Fprintf(&b, " %s |", number(v))
				} else {
					b.WriteString(" |")
				}
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// columns are those of the table of figures.
var columns = []struct {
	metric metric
	title  string
}{
	{rate, "a second"}, {accepted, "accepted a second"}, {octets, "MB/s"},
	{p50, "p50 ms"}, {p95, "p95 ms"}, {p99, "p99 ms"},
	{cpu, "CPU ms each"}, {own, "generator's"}, {memory, "MiB added"},
	{processes, "processes"}, {loginTime, "USER to STAT ms"}, {uidlTime, "UIDL ms"}, {listTime, "LIST ms"},
}

// number formats a figure with about three digits.
func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

// conditions says when and on which machine the figures were measured.
func conditions(rounds int, turn, took time.Duration) string {
	var name unix.Utsname
	_ = unix.Uname(&name)
	var info unix.Sysinfo_t
	_ = unix.Sysinfo(&info)
	commit, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		commit = []byte("unknown")
	}
	return fmt.Sprintf("Measured on %s at commit %s: %d cores (%s), %.0f GiB of memory, Linux %s, %s; "+
		"medians of %d turns of %v; the whole run took %v.",
		time.Now().Format("2 January 2006"), bytes.TrimSpace(commit), runtime.NumCPU(), processor(),
		float64(info.Totalram)*float64(info.Unit)/(1<<30), unix.ByteSliceToString(name.Release[:]), runtime.Version(),
		rounds, turn, took.Round(time.Minute))
}

func processor() string {
	for _, line := range readLines("/proc/cpuinfo") {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// Marks around the figures in a document.
const (
	figuresBegin = "<!-- figures: written by make bench -->"
	figuresEnd   = "<!-- end of figures -->"
)

// replaceFigures replaces the text between the marks in a document.
func replaceFigures(path, text string) error {
	document, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, begun := strings.Cut(string(document), figuresBegin)
	_, after, ended := strings.Cut(rest, figuresEnd)
	if !begun || !ended {
		return fmt.Errorf("%s has no place for the figures", path)
	}
	return os.WriteFile(path, []byte(before+figuresBegin+"\n\n"+text+"\n"+figuresEnd+after), 0o644)
}
