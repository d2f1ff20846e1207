package logs_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"mailsrv/internal/logs"
)

func TestFormatsAndLevel(t *testing.T) {
	for format, check := range map[string]func(line string) bool{
		"text": func(line string) bool { return strings.Contains(line, `msg="session end" proto=smtp`) },
		"json": func(line string) bool { return json.Valid([]byte(line)) },
	} {
		var out bytes.Buffer
		level := &slog.LevelVar{}
		level.Set(slog.LevelWarn)
		logger, err := logs.New(&out, format, level)
		if err != nil {
			t.Fatal(err)
		}
		logger.Info(logs.SessionEnd, logs.Proto, "smtp")
		if out.Len() > 0 {
			t.Errorf("%s: a line below the level: %s", format, out.String())
		}
		level.Set(slog.LevelInfo)
		logger.Info(logs.SessionEnd, logs.Proto, "smtp")
		if !check(out.String()) {
			t.Errorf("%s: got %s", format, out.String())
		}
	}
	if _, err := logs.New(&bytes.Buffer{}, "xml", &slog.LevelVar{}); err == nil {
		t.Error("format xml was taken")
	}
}

// What a peer says must not forge a line.
func TestOneLinePerEvent(t *testing.T) {
	var out bytes.Buffer
	logger, err := logs.New(&out, "text", &slog.LevelVar{})
	if err != nil {
		t.Fatal(err)
	}
	logger.Info(logs.Refused, logs.Helo, "x\r\nlevel=INFO msg=login\x1b[2J")
	if text := out.String(); strings.Count(text, "\n") != 1 || strings.ContainsAny(text, "\r\x1b") {
		t.Errorf("got %q", text)
	}
}

func TestText(t *testing.T) {
	for s, want := range map[string]string{
		"":                        "",
		"look@me.com":             "look@me.com",
		"jörg\t緑":                 "jörg?緑",
		"\x1b[2J\u202e\u0090\xff": "?[2J???",
		"0123456789abcdef":        "0123456789abcdef",
		"0123456789abcdefg":       "0123456789abcdef…",
		"0123456789abcdeöx":       "0123456789abcde…", // not within a character
	} {
		if got := logs.Text(s, 16); got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
}

// Nothing that a terminal obeys, or that turns the direction of writing, comes raw into
// a line of either form: control and format characters, separators of lines and of
// paragraphs. What it was can be read, and JSON says the same as before.
func TestNothingUnseenComesRaw(t *testing.T) {
	hidden := []*unicode.RangeTable{unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp}
	for _, format := range []string{"text", "json"} {
		var out bytes.Buffer
		logger, err := logs.New(&out, format, &slog.LevelVar{})
		if err != nil {
			t.Fatal(err)
		}
		for r := range unicode.MaxRune {
			if !unicode.In(r, hidden...) {
				continue
			}
			for _, value := range []string{"l" + string(r) + "ook", string(r)} {
				out.Reset()
				logger.Info(logs.Refused, logs.To, value, logs.Error, errors.New(value), logs.Reason, []string{value})
				line := strings.TrimSuffix(out.String(), "\n")
				if i := strings.IndexFunc(line, func(r rune) bool { return unicode.In(r, hidden...) }); i >= 0 {
					t.Errorf("%s: %U stands raw in %q", format, r, line)
				}
				if !strings.HasSuffix(out.String(), "\n") {
					t.Errorf("%s: %U: the line has no end", format, r)
				}
				var fields map[string]any
				if format == "json" && (json.Unmarshal([]byte(line), &fields) != nil || fields[logs.To] != value || fields[logs.Error] != value) {
					t.Errorf("%U is told as %s", r, line)
				}
			}
		}
		out.Reset()
		logger.Info(logs.Refused, logs.To, "jörg 緑 \U0001F600", logs.Helo, "a\xffb")
		if text := out.String(); !strings.Contains(text, "jörg 緑 \U0001F600") || !utf8.ValidString(text) {
			t.Errorf("%s: what can be seen became %s", format, text)
		}
	}
}
