package transcript

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// against plays a script against a server that is a function.
func against(t *testing.T, script string, serve func(net.Conn)) (string, error) {
	t.Helper()
	client, server := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer server.Close()
		serve(server)
	}()
	played, err := play(client, script, nil, 200*time.Millisecond)
	<-done
	return played, err
}

// say serves a fixed text and reads whatever comes.
func say(text string) func(net.Conn) {
	return func(c net.Conn) {
		io.WriteString(c, text)
		io.Copy(io.Discard, c)
	}
}

func TestHolds(t *testing.T) {
	for name, c := range map[string]struct{ script, text string }{
		"exact":     {"# c\nS: +OK ready\n", "+OK ready\r\n"},
		"wildcard":  {"# c\n\n# more\nS: +OK <*> re<*>\n", "+OK (a.b) ready\r\n"},
		"wildcards": {"# c\nS: a<*>\\xff<*>ab<*>b\n", "a\xffab\xffabb\r\n"},
		"regexp":    {"# c\nS~ \\+OK \\d+\n", "+OK 123\r\n"},
		"escapes":   {"# c\nS: a\\x00\\t\\u00e9\\\\ \"'\n", "a\x00\t\u00e9\\ \"'\r\n"},
		"no space":  {"# c\nS:\n", "\r\n"},
		"close":     {"# c\n(close)\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if played, err := against(t, c.script, say(c.text)); err != nil {
				t.Errorf("%v\n%s", err, played)
			}
		})
	}
}

func TestFails(t *testing.T) {
	for name, c := range map[string]struct{ script, text, want string }{
		"other text":       {"# c\nS: +OK\n", "+OK \r\n", `line 2: got "+OK "`},
		"wildcard anchors": {"# c\nS: a<*>c\n", "abcd\r\n", `got "abcd"`},
		"wildcards apart":  {"# c\nS: ab<*>bc\n", "abc\r\n", `got "abc"`},
		"regexp anchors":   {"# c\nS~ \\d\n", "12\r\n", `got "12"`},
		"bare LF":          {"# c\nS: +OK\n", "+OK\n", "bare LF"},
		"silence":          {"# c\nS: +OK\n", "+O", `got "+O" and then`},
		"still open":       {"# c\n(closed)\n", "", "still open"},
		"octets at end":    {"# c\nS: a\n(closed)\n", "a\r\nb\r\n", `got "b\r\n"`},
		"no clause":        {"S: +OK\n", "", "first line"},
		"no step":          {"# c\nX: y\n", "", "no step"},
		"bad escape":       {"# c\nS: \\q\n", "", "bad escape"},
		"left held":        {"# c\nC| a\n", "", "left without"},
		"no config":        {"# c\n(starttls)\n", "", "no TLS configuration"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := against(t, c.script, say(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestHeldLinesGoOutInOneWrite(t *testing.T) {
	for script, want := range map[string]string{
		"# c\nC| one\nC| two\nC: three\nS: +OK\n(closed)\n":   "one\r\ntwo\r\nthree\r\n",
		"# c\nC| one\nC- tw\\x00\nS: +OK\n(closed)\n":         "one\r\ntw\x00",
		"# c\nC: one two  three\nS: +OK\n(closed)\n":          "one two  three\r\n",
		"# c\nC| \nC: \nS: +OK\n(closed)\n":                   "\r\n\r\n",
		"# c\nC: caf\\u00e9 \\xff\\r\\nx\nS: +OK\n(closed)\n": "caf\u00e9 \xff\r\nx\r\n",
	} {
		played, err := against(t, script, func(c net.Conn) {
			// One Read of a pipe returns the octets of one Write.
			b := make([]byte, 1024)
			if n, _ := c.Read(b); string(b[:n]) == want {
				io.WriteString(c, "+OK\r\n")
			}
		})
		if err != nil {
			t.Errorf("want %q in one write: %v\n%s", want, err, played)
		}
	}
}

func TestFailureShowsTheDialogue(t *testing.T) {
	played, err := against(t, "# c\nS: hello\nC: QUIT\nS: bye\nC: never\n", func(c net.Conn) {
		io.WriteString(c, "hello\r\n")
		bufio.NewReader(c).ReadString('\n')
		io.WriteString(c, "what?\r\n")
	})
	if err == nil || err.Error() != `line 4: got "what?"` {
		t.Errorf("err = %v", err)
	}
	if want := "   2  S: hello\n   3  C: QUIT\n   4  S: bye\n"; played != want {
		t.Errorf("played %q, want %q", played, want)
	}
}
