package wire_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"mailsrv/internal/wire"
)

// Letters whose capital is an ASCII letter are no part of a keyword.
func TestKeyword(t *testing.T) {
	for word, want := range map[string]string{
		"starttls": "STARTTLS", "StartTLS": "STARTTLS", "": "", "a-1_{": "A-1_{",
		"\u017ftarttls": "\u017fTARTTLS", "qu\u0131t": "QU\u0131T", "\u212aeep": "\u212aEEP",
	} {
		if got := wire.Keyword(word); got != want {
			t.Errorf("%q became %q, want %q", word, got, want)
		}
	}
}

func TestReadLine(t *testing.T) {
	x := func(n int) string { return strings.Repeat("x", n) }
	limit := func(begun []byte) int {
		if bytes.HasPrefix(begun, []byte("LONG")) {
			return 100
		}
		return 20
	}
	for text, want := range map[string]string{
		"a\r\nb\n":                    "a|b|EOF",
		"\r\n\n":                      "||EOF",
		"cut":                         "EOF",
		x(18) + "\r\nb\r\n":           x(18) + "|b|EOF",
		x(19) + "\r\nb\r\n":           "long|b|EOF",
		x(150) + "\r\nb\r\n":          "long|b|EOF",
		"LONG" + x(94) + "\r\nb\r\n":  "LONG" + x(94) + "|b|EOF",
		"LONG" + x(95) + "\r\nb\r\n":  "long|b|EOF",
		"LONG" + x(500) + "\r\nb\r\n": "endless",
	} {
		in := bufio.NewReaderSize(strings.NewReader(text), 16)
		var got []string
		for {
			line, err := wire.ReadLine(in, limit, 200)
			switch {
			case errors.Is(err, wire.ErrTooLong):
				got = append(got, "long")
				continue
			case errors.Is(err, wire.ErrEndless):
				got = append(got, "endless")
			case err == io.EOF:
				got = append(got, "EOF")
			case err != nil:
				t.Fatal(err)
			default:
				got = append(got, string(wire.Trim(line)))
				continue
			}
			break
		}
		if strings.Join(got, "|") != want {
			t.Errorf("%.30q: %q, want %q", text, got, want)
		}
	}
}

// A reply is sent before the next wait, and after an error nothing is.
func TestOutput(t *testing.T) {
	var sent pieces
	out := &wire.Output{Writers: wire.NewWriters(16), To: &sent}
	in := &wire.Input{From: strings.NewReader("next"), Out: out}
	out.Buffer().WriteString("+OK ")
	out.Buffer().WriteString("one\r\n")
	if len(sent.all) > 0 {
		t.Errorf("sent early: %q", sent.all)
	}
	if n, err := in.Read(make([]byte, 4)); n != 4 || err != nil {
		t.Fatal(n, err)
	}
	if strings.Join(sent.all, "|") != "+OK one\r\n" {
		t.Errorf("sent %q", sent.all)
	}
	sent.fail = io.ErrClosedPipe
	out.Buffer().WriteString("two\r\n")
	if err := out.Flush(); err != io.ErrClosedPipe {
		t.Error(err)
	}
	sent.fail = nil
	out.Buffer().WriteString("three\r\n")
	if _, err := in.Read(make([]byte, 1)); err != io.ErrClosedPipe || len(sent.all) != 1 {
		t.Errorf("%v, sent %q", err, sent.all)
	}
}

type pieces struct {
	all  []string
	fail error
}

func (p *pieces) Write(b []byte) (int, error) {
	if p.fail != nil {
		return 0, p.fail
	}
	p.all = append(p.all, string(b))
	return len(b), nil
}
