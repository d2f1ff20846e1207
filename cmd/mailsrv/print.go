package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"

	"mailsrv/internal/logs"
	"mailsrv/quota"
)

// isTerminal reports whether a reader or writer is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(interface{ Fd() uintptr })
	return ok && term.IsTerminal(int(f.Fd()))
}

func (p *program) printf(format string, args ...any) {
	for i, a := range args {
		if s, ok := a.(fmt.Stringer); ok {
			a = s.String()
		}
		if s, ok := a.(string); ok {
			args[i] = printable(s)
		}
	}
	fmt.Fprintf(p.out, format, args...)
}

// printable makes text from outside safe to show: a terminal obeys control characters, and
// line ends break a table.
func printable(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
	}
	return b.String()
}

// printJSON writes v as JSON. It escapes all that a terminal could obey, also what
// encoding/json lets pass.
func (p *program) printJSON(v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	p.writeJSON(text)
	return p.out.WriteByte('\n')
}

// writeJSON is printJSON for text that is JSON already.
func (p *program) writeJSON(text []byte) { p.out.Write(logs.Escape(nil, text)) }

// table collects rows and writes them in columns. A column whose title begins
// with ">" is aligned to the right.
type table struct {
	right []bool
	rows  [][]string
}

func newTable(titles ...string) *table {
	t := &table{}
	for i, title := range titles {
		bare, right := strings.CutPrefix(title, ">")
		t.right = append(t.right, right)
		titles[i] = bare
	}
	t.row(titles...)
	return t
}

func (t *table) row(cells ...string) {
	for i := range cells {
		cells[i] = printable(cells[i])
	}
	t.rows = append(t.rows, cells)
}

func (t *table) write(w io.Writer) {
	widths := make([]int, len(t.right))
	for _, row := range t.rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range t.rows {
		writeRow(w, widths, t.right, row)
	}
}

// writeRow writes the cells of one row, none of them wider than its column.
func writeRow(w io.Writer, widths []int, right []bool, row []string) {
	var line strings.Builder
	for i, cell := range row {
		pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
		if i > 0 {
			line.WriteString("  ")
		}
		if right[i] {
			line.WriteString(pad + cell)
		} else {
			line.WriteString(cell + pad)
		}
	}
	fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
}

// sizeText returns one part of a limit, in octets, as text.
func sizeText(octets int64) string {
	if octets <= 0 {
		return "none"
	}
	return quota.FormatSize(octets)
}

func countText(n int64) string {
	if n <= 0 {
		return "none"
	}
	return strconv.FormatInt(n, 10)
}

// fullText returns how full a maildrop is, with a bar if bar is set.
func fullText(limit quota.Limit, usage quota.Usage, bar bool) string {
	percent, limited := limit.Percent(usage)
	if !limited {
		return "-"
	}
	text := fmt.Sprintf("%3d%%", percent)
	if bar {
		const cells = 10
		filled := min((percent*cells+99)/100, cells)
		text += " [" + strings.Repeat("#", filled) + strings.Repeat(".", cells-filled) + "]"
	}
	return strings.TrimLeft(text, " ")
}

func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.FormatInt(n, 10) + " " + many
}

// amount returns a usage in words.
func amount(u quota.Usage) string {
	return plural(u.Messages, "message", "messages") + ", " + quota.FormatSize(u.Octets)
}
