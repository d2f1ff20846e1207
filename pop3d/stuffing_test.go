package pop3d

import (
	"bufio"
	"bytes"
	"errors"
	"strings"
	"testing"
)

// stuff sends text in pieces of the lengths given, the rest as one.
func stuff(text []byte, lengths []byte) []byte {
	var out bytes.Buffer
	s := stuffer{w: bufio.NewWriterSize(&out, 16)}
	for _, n := range lengths {
		n := min(int(n), len(text))
		s.write(text[:n])
		text = text[n:]
	}
	s.write(text)
	s.end()
	s.w.Flush()
	return out.Bytes()
}

// receive reads a multi-line text as RFC 1939 section 3 tells a client to. It
// returns what follows the final dot too.
func receive(wire []byte) (text, rest []byte, err error) {
	for {
		line, after, ok := bytes.Cut(wire, []byte("\r\n"))
		if !ok {
			return nil, nil, errors.New("no final dot")
		}
		wire = after
		if string(line) == "." {
			return text, wire, nil
		}
		text = append(append(text, bytes.TrimPrefix(line, []byte("."))...), "\r\n"...)
	}
}

func FuzzStuffing(f *testing.F) {
	for _, text := range []string{
		"", ".", "..", ".\r\n", "\r\n", "\n", "\r", "a", "a\r", "a\n", "a\r\n", "\r\n.\r\n", "\r\n.", "a\r\n.\r\nb\r\n",
		"..\r\n...\r\n", "\n.\r\n", "a.b\r\n", "\r\r\n.\n", strings.Repeat(".\r\n", 40), strings.Repeat("x", 100) + "\r\n.x",
	} {
		f.Add([]byte(text), []byte{})
		f.Add([]byte(text), bytes.Repeat([]byte{1}, len(text)))
		f.Add([]byte(text), []byte{0, 2, 3, 1})
	}
	f.Fuzz(func(t *testing.T, text, lengths []byte) {
		wire := stuff(text, lengths)
		if whole := stuff(text, nil); !bytes.Equal(wire, whole) {
			t.Fatalf("in pieces %q, whole %q", wire, whole)
		}
		// A client that takes a bare LF for a line's end must find the same end.
		if at := bytes.Index(append([]byte("\n"), wire...), []byte("\n.\r\n")); at != len(wire)-3 {
			t.Fatalf("%q holds a final dot at %d", wire, at)
		}
		// Stored messages hold no bare LF; for them the way back is exact.
		if bytes.Contains(bytes.ReplaceAll(text, []byte("\r\n"), nil), []byte("\n")) {
			return
		}
		got, rest, err := receive(wire)
		if err != nil || len(rest) > 0 {
			t.Fatalf("%q: left %q, %v", wire, rest, err)
		}
		if len(text) > 0 && !bytes.HasSuffix(text, []byte("\r\n")) {
			text = append(text[:len(text):len(text)], "\r\n"...)
		}
		if !bytes.Equal(got, text) {
			t.Fatalf("sent %q, received %q", text, got)
		}
	})
}

// topOf is what TOP sends, found the slow way.
func topOf(text string, lines int) string {
	header, body, found := strings.Cut("\r\n"+text, "\r\n\r\n")
	if !found {
		return text
	}
	end := len(header) - 2 + 4
	for ; lines > 0 && body != ""; lines-- {
		line, rest, _ := strings.Cut(body, "\n")
		end += min(len(line)+1, len(body))
		body = rest
	}
	return text[:end]
}

func TestTopUnderEveryCut(t *testing.T) {
	for _, text := range []string{
		"", "\r\n", "A: b\r\n", "A: b\r\n\r\n", "A: b\r\n\r\nx\r\ny\r\n", "\r\nx\r\n\r\ny\r\n", "A: b\r\n\r\n\r\n\r\n", "A: b\r\n c\r\n\r\n.\r\nlast",
	} {
		for lines := range 5 {
			want := topOf(text, lines)
			for a := 0; a <= len(text); a++ {
				for b := a; b <= len(text); b++ {
					h := head{lines: int64(lines)}
					var got string
					for _, piece := range []string{text[:a], text[a:b], text[b:]} {
						part, done := h.cut([]byte(piece))
						got += string(part)
						if done {
							break
						}
					}
					if got != want {
						t.Fatalf("TOP %d of %q cut at %d and %d: %q, want %q", lines, text, a, b, got, want)
					}
				}
			}
		}
	}
}

type counter struct{ writes, octets int }

func (c *counter) Write(p []byte) (int, error) {
	c.writes++
	c.octets += len(p)
	return len(p), nil
}

func BenchmarkStuffing(b *testing.B) {
	piece := bytes.Repeat([]byte(strings.Repeat("x", 76)+"\r\n"), 256<<10/78)
	var out counter
	s := stuffer{w: bufio.NewWriterSize(&out, writeBuffer)}
	b.SetBytes(int64(len(piece)))
	b.ReportAllocs()
	for b.Loop() {
		s.write(piece)
	}
}
