package delivery

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"mailsrv/internal/mail"
)

// plainCanonical is the rule, written the slow way.
func plainCanonical(s string) (text string, bare bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\r' && i+1 < len(s) && s[i+1] == '\n':
			b.WriteString("\r\n")
			i++
		case s[i] == '\n':
			b.WriteString("\r\n")
			bare = true
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
	return text, bare
}

// plainHops counts the Received fields of a canonical text.
func plainHops(text string) int {
	header, _, _ := strings.Cut("\r\n"+text, "\r\n\r\n")
	return strings.Count(strings.ToLower(header), "\r\nreceived:")
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

// FuzzCanonical cuts content in every way that one number describes: the form
// does not depend on it.
func FuzzCanonical(f *testing.F) {
	for _, s := range []string{"", "a\r\nb", "a\rb\nc\r", "\r\r\n\r\n", "Received: x\r\nreceiveD: y\r\nReceived\r : z\n\nReceived: no\r\n", "\r\n\x00\xff"} {
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
		if hops := plainHops(want); c.hops != hops {
			t.Fatalf("%q: %d hops, want %d", s, c.hops, hops)
		}
		if again, _ := plainCanonical(got); again != got {
			t.Fatalf("%q is not stable: %q", got, again)
		}
	})
}

func TestCanonicalLimit(t *testing.T) {
	c := &canonical{to: &bytes.Buffer{}, limit: 4}
	if _, err := c.Write([]byte("ab\r\n")); err != nil {
		t.Fatal(err)
	}
	_, err := c.Write([]byte("c"))
	var refusal *Refusal
	if !errors.As(err, &refusal) || refusal.Reason != MessageTooLarge {
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
		c := canonical{to: &out, inBody: true}
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
