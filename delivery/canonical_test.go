package delivery

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"mailsrv/internal/mail"
	"mailsrv/internal/refusal"
)

// plainCanonical is canonical on a whole text, written the simple way.
func plainCanonical(s string) (text string, bare bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		crs := len(s[i:]) - len(strings.TrimLeft(s[i:], "\r"))
		switch {
		case i+crs < len(s) && s[i+crs] == '\n':
			b.WriteString("\r\n")
			bare = bare || crs != 1
			i += crs
		case s[i] == '\r':
			b.WriteByte(' ')
			bare = true
		default:
			b.WriteByte(s[i])
		}
	}
	text = b.String()
	if text != "" && !strings.HasSuffix(text, "\r\n") {
		text += "\r\n"
	}
	return plainSection(text), bare
}

var (
	plainField    = regexp.MustCompile(`^[!-9;-~]+[ \t]*:`)
	plainMbox     = regexp.MustCompile(`^>*From `)
	plainReceived = regexp.MustCompile(`(?i)^received[ \t]*:`)
)

// plainSection is section on a whole text, written the simple way.
func plainSection(text string) string {
	lines := strings.SplitAfter(text, "\r\n")
	for i, line := range lines {
		switch {
		case line == "" || line == "\r\n":
			return strings.Join(lines, "")
		case plainField.MatchString(line[:min(len(line), maxFieldName+1)]):
		case i > 0 && strings.ContainsAny(line[:1], " \t"):
		case plainMbox.MatchString(line):
			lines[i] = "X-Mailbox-Line: " + line
		default:
			lines[i] = "\r\n" + line
			return strings.Join(lines, "")
		}
	}
	return text
}

// plainHops returns the number of Received fields of a canonical text.
func plainHops(text string) int {
	hops := 0
	for line := range strings.SplitSeq(text, "\r\n") {
		if line == "" {
			break
		}
		if plainReceived.MatchString(line) {
			hops++
		}
	}
	return hops
}

func canonicalise(t testing.TB, s string, cut func(rest string) int) (*canonical, string) {
	var out bytes.Buffer
	c := &canonical{to: &out}
	for s != "" {
		n := cut(s)
		if m, err := c.Write([]byte(s[:n])); m != n || err != nil {
			t.Fatalf("Write: %d of %d, %v", m, n, err)
		}
		s = s[n:]
	}
	if err := c.finish(); err != nil {
		t.Fatal(err)
	}
	return c, out.String()
}

// FuzzCanonical writes content in pieces whose sizes come from the bits of a number. The
// result must not depend on them.
func FuzzCanonical(f *testing.F) {
	for _, s := range []string{"", "a\r\nb", "a\rb\nc\r", "\r\r\n\r\n", "Received: x\r\nreceiveD: y\r\nReceived\r : z\n\nReceived: no\r\n", "\r\n\x00\xff",
		"\r\r\r\na: b\r\r\n", "Hello world, this is a scan\r\n", " x\r\nA: b\r\n", "A: b\r\n c\r\ntext\r\nB: c", ">From a\r\nFrom : b\r\nFrom", "a \t:\n"} {
		f.Add(s, uint64(0b1011001))
	}
	f.Fuzz(func(t *testing.T, s string, cuts uint64) {
		want, bare := plainCanonical(s)
		c, got := canonicalise(t, s, func(rest string) int {
			n := min(1+int(cuts&7), len(rest))
			cuts = cuts>>3 | cuts<<61
			return n
		})
		if got != want || c.bare != bare || c.sent != int64(len(s)) {
			t.Fatalf("%q became %q (bare %v, %d sent), want %q (bare %v)", s, got, c.bare, c.sent, want, bare)
		}
		if hops := plainHops(want); c.section.hops != hops {
			t.Fatalf("%q: %d hops, want %d", s, c.section.hops, hops)
		}
		if again, _ := plainCanonical(got); again != got {
			t.Fatalf("%q is not stable: %q", got, again)
		}
	})
}

// A first line that is no header field never continues the trace fields before it, and
// readers take it for the body.
func TestHeaderSection(t *testing.T) {
	long := strings.Repeat("n", maxFieldName)
	for sent, want := range map[string]string{
		"":                                    "",
		"\r\ntext\r\n":                        "\r\ntext\r\n",
		"Hello world, this is a scan\r\n":     "\r\nHello world, this is a scan\r\n",
		" with ESMTP id forged\r\nA: b\r\n":   "\r\n with ESMTP id forged\r\nA: b\r\n",
		"\tfolded\r\n":                        "\r\n\tfolded\r\n",
		"A: b\r\n c\r\n\td\r\n\r\ne\r\n":      "A: b\r\n c\r\n\td\r\n\r\ne\r\n",
		"A: b\r\nno field\r\nC: d\r\n":        "A: b\r\n\r\nno field\r\nC: d\r\n",
		"A \t: b\r\n":                         "A \t: b\r\n",
		"A b: c\r\n":                          "\r\nA b: c\r\n",
		": c\r\n":                             "\r\n: c\r\n",
		"\xc3\xa4: c\r\n":                     "\r\n\xc3\xa4: c\r\n",
		"From a@b Mon\r\nA: b\r\n":            "X-Mailbox-Line: From a@b Mon\r\nA: b\r\n",
		">From a@b\r\n c\r\nA: b\r\n":         "X-Mailbox-Line: >From a@b\r\n c\r\nA: b\r\n",
		"A: b\r\nFrom a\r\n\r\nFrom b\r\n":    "A: b\r\nX-Mailbox-Line: From a\r\n\r\nFrom b\r\n",
		"From : a@b\r\n":                      "From : a@b\r\n",
		"From":                                "\r\nFrom\r\n",
		"From ":                               "X-Mailbox-Line: From \r\n",
		"From: a\r\r\n\r\r\ntext\r\r\n":       "From: a\r\n\r\ntext\r\n",
		"A: b\r":                              "A: b \r\n",
		long + ": a\r\n":                      long + ": a\r\n",
		long + "n: a\r\n":                     "\r\n" + long + "n: a\r\n",
		"Received : a\r\nRECEIVED:\r\nb: c\n": "Received : a\r\nRECEIVED:\r\nb: c\r\n",
	} {
		for _, cut := range []int{1, 2, 3, 1 << 20} {
			c, got := canonicalise(t, sent, func(rest string) int { return min(cut, len(rest)) })
			if got != want || c.section.hops != plainHops(want) {
				t.Errorf("%.80q in pieces of %d became %.80q with %d hops, want %.80q", sent, cut, got, c.section.hops, want)
			}
		}
	}
}

func TestCanonicalLimit(t *testing.T) {
	c := &canonical{to: &bytes.Buffer{}, limit: 4}
	if _, err := c.Write([]byte("ab\r\n")); err != nil {
		t.Fatal(err)
	}
	_, err := c.Write([]byte("c"))
	if r := refusal.Of(err); r == nil || r.Reason != refusal.TooLarge {
		t.Fatalf("got %v", err)
	}
	if _, err := c.Write([]byte("d")); err == nil {
		t.Fatal("a refused message goes on")
	}
}

func BenchmarkCanonical(b *testing.B) {
	text := []byte(strings.Repeat(strings.Repeat("x", 76)+"\r\n", 52))
	b.SetBytes(int64(len(text)))
	var out bytes.Buffer
	for b.Loop() {
		out.Reset()
		c := canonical{to: &out, section: section{inBody: true}}
		c.Write(text)
		c.finish()
	}
}

func address(s string) mail.Address {
	a, err := mail.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}
